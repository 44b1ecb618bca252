// What the machine offers and what the build has: instruction set, threads, cells.
#include <pybind11/pybind11.h>

#include "bindings.h"
#include "cells/registry.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"

namespace fusedrnn::python {

namespace py = pybind11;

void bind_runtime(py::module_& module) {
  module.def("isa", [] { return cpu::kernels().isa; }, "The instruction set in use.");
  module.def("num_threads", &cpu::num_threads, "How many threads a call may use.");
  module.def(
      "set_num_threads",
      [](int threads) {
        if (threads < 1 || threads > 4096)
          throw py::value_error("set_num_threads: n must be in [1, 4096], got " + std::to_string(threads));
        cpu::set_num_threads(threads);
      },
      py::arg("threads"), "Set how many threads a call may use.");
  module.def(
      "cells",
      [] {
        py::dict cells;
        for (const CellInfo& cell : kCells) {
          py::dict info;
          info["gates"] = cell.gates;
          info["states"] = cell.states;
          info["saved"] = cell.saved;
          info["projects"] = cell.projects;
          info["one_gate_gradient"] = cell.one_gate_gradient;
          cells[cell.name] = info;
        }
        return cells;
      },
      "The registered cells by name: their gates, states, saved values, whether they may have a projection, and "
      "whether both gate gradients are one.");
}

}  // namespace fusedrnn::python
