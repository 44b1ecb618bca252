// Lists of arrays on the device for Python: their sums of squares, and clipping by a norm that is there, too.
#include "cuda/bindings.h"
#include "cuda/intake.h"
#include "cuda/lists.h"

namespace fusedrnn::python {
namespace {

template <class E>
std::vector<cuda::Vector<E>> vectors_of(const char* function, const py::list& arrays) {
  std::vector<cuda::Vector<E>> vectors;
  for (const py::handle& array : arrays) {
    const DeviceRule rule{function, "arrays", "of its own", shape_of(array)};
    int64_t size = 1;
    for (const int64_t axis : rule.shape) size *= axis;
    vectors.push_back({present(dense<E>(array, rule), rule), size});
  }
  return vectors;
}

template <class T>
void run_sums(const py::list& arrays, const py::object& parts, const py::object& sums, cudaStream_t stream) {
  constexpr const char* kName = "sums_of_squares";
  const auto vectors = vectors_of<const T>(kName, arrays);
  const auto count = static_cast<int64_t>(vectors.size());
  const DeviceRule parts_rule{kName, "parts", "(arrays, PARTS)", {count, cuda::kSquaresParts}};
  const DeviceRule sums_rule{kName, "sums", "(arrays,)", {count}};
  double* const room = present(dense<double>(parts, parts_rule), parts_rule);
  double* const out = present(dense<double>(sums, sums_rule), sums_rule);
  const py::gil_scoped_release released;
  cuda::sums_of_squares(vectors.data(), count, room, out, stream);
}

template <class T>
void run_clip(const py::list& arrays, const py::object& norm, double most, cudaStream_t stream) {
  const auto vectors = vectors_of<T>("clip", arrays);
  const DeviceRule rule{"clip", "norm", "()", {}};
  const double* const length = present(dense<const double>(norm, rule), rule);
  const py::gil_scoped_release released;
  cuda::clip(vectors.data(), static_cast<int64_t>(vectors.size()), length, most, stream);
}

void sums_of_squares(const py::list& arrays, const py::object& parts, const py::object& sums, uintptr_t stream) {
  if (arrays.empty()) return;
  const auto run = is_double("sums_of_squares", "arrays", arrays[0]) ? &run_sums<double> : &run_sums<float>;
  run(arrays, parts, sums, reinterpret_cast<cudaStream_t>(stream));
}

void clip(const py::list& arrays, const py::object& norm, double most, uintptr_t stream) {
  if (arrays.empty()) return;
  const auto run = is_double("clip", "arrays", arrays[0]) ? &run_clip<double> : &run_clip<float>;
  run(arrays, norm, most, reinterpret_cast<cudaStream_t>(stream));
}

}  // namespace

void bind_norms(py::module_& module) {
  module.attr("SQUARES_PARTS") = cuda::kSquaresParts;
  module.def("sums_of_squares", &sums_of_squares, py::arg("arrays"), py::arg("parts"), py::arg("sums"),
             py::arg("stream"), "sums (N,) = the sum of squares of each of N arrays of one dtype, in float64.");
  module.def("clip", &clip, py::arg("arrays"), py::arg("norm"), py::arg("most"), py::arg("stream"),
             "Arrays of one dtype times min(most / norm, 1) in place; zeros where the norm is not finite.");
}

}  // namespace fusedrnn::python
