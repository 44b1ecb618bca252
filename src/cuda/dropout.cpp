// Dropout on the device for Python: fusedrnn._cuda.dropout.
#include <cmath>

#include "cuda/backend.h"
#include "cuda/bindings.h"
#include "cuda/intake.h"

namespace fusedrnn::python {
namespace {

template <class T>
void run(const py::object& x, const py::object& out, double p, const MaskCoordinates& mask, cudaStream_t stream) {
  constexpr const char* kName = "dropout";
  const std::vector<int64_t> shape = shape_of(x);
  if (shape.size() != 3) throw py::value_error("dropout: x must have three axes (T, B, C)");
  const DeviceRule x_rule{kName, "x", "(T, B, C)", shape}, out_rule{kName, "out", "(T, B, C)", shape};
  cuda::Dropout<T> problem{};
  problem.steps = shape[0], problem.rows = shape[1], problem.columns = shape[2];
  problem.x = present(dense<const T>(x, x_rule), x_rule);
  problem.out = present(dense<T>(out, out_rule), out_rule);
  if (!(p >= 0 && p < 1)) throw py::value_error("dropout: p must be in [0, 1), got " + std::to_string(p));
  // Half to even, as the oracle rounds; p < 1 may still round to 2**32, which no word reaches.
  problem.threshold = static_cast<uint64_t>(std::nearbyint(p * 4294967296.0));
  problem.scale = static_cast<cuda::Wide<T>>(1 / (1 - p));
  problem.mask = mask;
  const py::gil_scoped_release released;
  cuda::dropout(problem, stream);
}

void dropout(const py::object& x, const py::object& out, double p, uint64_t seed, uint32_t site, uint32_t step,
             uint64_t row_offset, uintptr_t stream) {
  const MaskCoordinates mask{seed, site, step, row_offset};
  with_type("dropout: dtype of x", py::str(x.attr("dtype")),
            [&](auto number) { run<decltype(number)>(x, out, p, mask, reinterpret_cast<cudaStream_t>(stream)); });
}

}  // namespace

void bind_dropout(py::module_& module) {
  module.def("dropout", &dropout, py::arg("x"), py::arg("out"), py::arg("p"), py::arg("seed"), py::arg("site"),
             py::arg("step"), py::arg("row_offset"), py::arg("stream"),
             "out = x scaled where the mask keeps it, else zero; (T, B, C) arrays.");
}

}  // namespace fusedrnn::python
