// Lists of arrays: their sums of squares, and scaling them in place.
#include <pybind11/stl.h>

#include "bindings.h"
#include "cpu/backend.h"
#include "intake.h"

namespace fusedrnn::python {
namespace {

template <class E>
std::vector<cpu::Vector<E>> vectors_of(const char* function, const py::list& arrays) {
  std::vector<cpu::Vector<E>> vectors;
  for (const py::handle& array : arrays) {
    const std::vector<py::ssize_t> shape = shape_of(array);
    E* data = present(dense<E>(array, {function, "arrays", "of its own", shape}), function, "arrays");
    vectors.push_back({data, size_of(shape)});
  }
  return vectors;
}

template <class T>
std::vector<double> run_sums(const py::list& arrays) {
  const auto vectors = vectors_of<const T>("sums_of_squares", arrays);
  std::vector<double> sums(vectors.size());
  const py::gil_scoped_release released;
  cpu::sums_of_squares(vectors.data(), static_cast<int64_t>(vectors.size()), sums.data());
  return sums;
}

template <class T>
void run_scale(const py::list& arrays, double factor) {
  const auto vectors = vectors_of<T>("scale", arrays);
  const py::gil_scoped_release released;
  cpu::scale(vectors.data(), static_cast<int64_t>(vectors.size()), static_cast<T>(factor));
}

// The first array says which type all of them must have.
bool is_double(const py::list& arrays) {
  if (arrays.empty() || !py::isinstance<py::array>(arrays[0])) return false;
  return py::reinterpret_borrow<py::array>(arrays[0]).dtype().equal(py::dtype::of<double>());
}

std::vector<double> sums_of_squares(const py::list& arrays) {
  return is_double(arrays) ? run_sums<double>(arrays) : run_sums<float>(arrays);
}

void scale(const py::list& arrays, double factor) {
  return is_double(arrays) ? run_scale<double>(arrays, factor) : run_scale<float>(arrays, factor);
}

}  // namespace

void bind_vectors(py::module_& module) {
  module.def("sums_of_squares", &sums_of_squares, py::arg("arrays"),
             "The sum of squares of each array, in float64. The arrays have one dtype.");
  module.def("scale", &scale, py::arg("arrays"), py::arg("factor"),
             "Multiply every array by the factor, in place. The arrays have one dtype.");
}

}  // namespace fusedrnn::python
