// Arrays from Python into the views of the contract. Nothing is copied or cast: what does not fit is an error that
// names the function, the argument, the rule and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "contract/checked.h"
#include "contract/problem.h"

namespace fusedrnn::python {

namespace py = pybind11;

inline std::string text_of(const std::vector<py::ssize_t>& shape) {
  std::string text = "(";
  for (size_t axis = 0; axis < shape.size(); ++axis) text.append(axis ? ", " : "").append(std::to_string(shape[axis]));
  return text.append(shape.size() == 1 ? ",)" : ")");
}

// The shape of an array, for arguments of which any shape will do and for those that have to share it.
inline std::vector<py::ssize_t> shape_of(const py::handle& value) {
  if (!py::isinstance<py::array>(value)) return {};
  const auto array = py::reinterpret_borrow<py::array>(value);
  return {array.shape(), array.shape() + array.ndim()};
}

// What an array must be. `letters` names the shape in messages.
struct Rule {
  const char* function;
  const char* name;
  const char* letters;
  std::vector<py::ssize_t> shape;
};

// The array behind `value` after all checks: type, shape, alignment, and write access unless E is const.
template <class E>
py::array checked(const py::handle& value, const Rule& rule) {
  using Element = std::remove_const_t<E>;
  const auto head = [&] { return std::string(rule.function) + ": " + rule.name + " must "; };
  if (!py::isinstance<py::array>(value))
    throw py::type_error(head() + "be a numpy array, got " + std::string(py::str(py::type::handle_of(value))));
  const auto array = py::reinterpret_borrow<py::array>(value);
  const py::dtype wanted = py::dtype::of<Element>();
  if (!array.dtype().is(wanted) && !array.dtype().equal(wanted))
    throw py::type_error(head() + "have dtype " + std::string(py::str(wanted)) + ", got " +
                         std::string(py::str(array.dtype())));
  if (!std::equal(array.shape(), array.shape() + array.ndim(), rule.shape.begin(), rule.shape.end()))
    throw py::value_error(head() + "have shape " + rule.letters + " = " + text_of(rule.shape) + ", got " +
                          text_of(shape_of(array)));
  if (!std::is_const_v<E> && !array.writeable()) throw py::value_error(head() + "be writable, got a read-only array");
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(Element) != 0)
    throw py::value_error(head() + "be aligned, got a misaligned array");
  return array;
}

template <class E>
int64_t elements(const py::array& array, int axis, const Rule& rule) {
  const py::ssize_t bytes = array.strides(axis), size = sizeof(E);
  if (array.shape(axis) <= 1) return 0;
  if (bytes % size != 0)
    throw py::value_error(std::string(rule.function) + ": the strides of " + rule.name + " must be whole elements");
  return bytes / size;
}

template <class E>
E* pointer(const py::array& array) {
  return reinterpret_cast<E*>(const_cast<void*>(array.data()));
}

// A dense array, or nullptr for None.
template <class E>
E* dense(const py::handle& value, const Rule& rule) {
  if (value.is_none()) return nullptr;
  const py::array array = checked<E>(value, rule);
  if (array.size() > 0 && (array.flags() & py::array::c_style) == 0)
    throw py::value_error(std::string(rule.function) + ": " + rule.name + " must be C-contiguous");
  return pointer<E>(array);
}

// A (T, B) or (T, B, C) array whose last axis, if there is a third, is contiguous; absent for None.
template <class E>
Sequence<E> sequence(const py::handle& value, const Rule& rule) {
  if (value.is_none()) return {};
  const py::array array = checked<E>(value, rule);
  if (array.ndim() == 3 && array.size() > 0 && array.shape(2) > 1 && elements<E>(array, 2, rule) != 1)
    throw py::value_error(std::string(rule.function) + ": the last axis of " + rule.name + " must be contiguous");
  return {pointer<E>(array), elements<E>(array, 0, rule), elements<E>(array, 1, rule)};
}

template <class E>
E* present(E* data, const char* function, const char* name) {
  if (data == nullptr) throw py::type_error(std::string(function) + ": " + name + " must be an array, got None");
  return data;
}

inline int64_t size_of(const std::vector<py::ssize_t>& shape) {
  int64_t size = 1;
  for (const py::ssize_t axis : shape) size *= axis;
  return size;
}

}  // namespace fusedrnn::python
