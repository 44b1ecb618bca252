// What the machine offers and what the build has: instruction set, threads, cells.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "cells/registry.h"
#include "cpu/backend.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/threads.h"

namespace fusedrnn::python {

namespace py = pybind11;

namespace {

double peak(const py::dtype& dtype, double milliseconds) {
  if (!(milliseconds > 0 && milliseconds <= 10000))
    throw py::value_error("peak: milliseconds must be in (0, 10000], got " +
                          std::string(py::str(py::float_(milliseconds))));
  const bool is_double = dtype.equal(py::dtype::of<double>());
  if (!is_double && !dtype.equal(py::dtype::of<float>()))
    throw py::type_error("peak: dtype must be float32 or float64, got " + std::string(py::str(dtype)));
  const py::gil_scoped_release released;
  return (is_double ? cpu::peak<double>(milliseconds / 1e3) : cpu::peak<float>(milliseconds / 1e3)) / 1e9;
}

}  // namespace

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
  module.def("peak", &peak, py::arg("dtype"), py::arg("milliseconds"),
             "GFLOP/s of independent multiply-adds in registers on all threads, measured for so long.");
}

}  // namespace fusedrnn::python
