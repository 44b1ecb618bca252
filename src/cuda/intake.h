// Arrays on the device as Python shows them, through the CUDA array interface, into pointers and views.
//
// Nothing is copied or cast: what does not fit is an error that names the function, the argument, the rule and what
// came.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <type_traits>
#include <vector>

#include "contract/problem.h"

namespace fusedrnn::python {

namespace py = pybind11;

// What an array must be. `letters` names the shape in messages.
struct DeviceRule {
  const char* function;
  const char* name;
  const char* letters;
  std::vector<int64_t> shape;

  std::string head() const { return std::string(function) + ": " + name + " must "; }
};

struct DeviceArray {
  void* data = nullptr;
  std::vector<int64_t> strides;  // in elements
};

template <class E>
constexpr const char* type_code() {
  if constexpr (std::is_same_v<E, float>) return "<f4";
  if constexpr (std::is_same_v<E, double>) return "<f8";
  if constexpr (std::is_same_v<E, __half>) return "<f2";
  if constexpr (std::is_same_v<E, __nv_bfloat16>) return "<V2";  // as ml_dtypes names it
  if constexpr (std::is_same_v<E, int64_t>) return "<i8";
  if constexpr (std::is_same_v<E, uint16_t>) return "<u2";
  if constexpr (std::is_same_v<E, uint32_t>) return "<u4";
  if constexpr (std::is_same_v<E, uint64_t>) return "<u8";
  if constexpr (std::is_same_v<E, uint8_t>) return "|u1";
}

inline std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t axis = 0; axis < shape.size(); ++axis) text.append(axis ? ", " : "").append(std::to_string(shape[axis]));
  return text.append(shape.size() == 1 ? ",)" : ")");
}

// The array behind `value` after all checks: type, shape, and write access unless E is const.
template <class E>
DeviceArray checked(const py::handle& value, const DeviceRule& rule) {
  using Element = std::remove_const_t<E>;
  if (!py::hasattr(value, "__cuda_array_interface__"))
    throw py::type_error(rule.head() + "be an array on a GPU, got " + std::string(py::str(py::type::handle_of(value))));
  const py::dict facts = value.attr("__cuda_array_interface__");
  const auto type = py::cast<std::string>(facts["typestr"]);
  if (type != type_code<Element>())
    throw py::type_error(rule.head() + "have the type " + type_code<Element>() + ", got " + type);
  const auto shape = py::cast<std::vector<int64_t>>(facts["shape"]);
  if (shape != rule.shape)
    throw py::value_error(rule.head() + "have shape " + rule.letters + " = " + text_of(rule.shape) + ", got " +
                          text_of(shape));
  const py::tuple data = facts["data"];
  if (!std::is_const_v<E> && py::cast<bool>(data[1]))
    throw py::value_error(rule.head() + "be writable, got a read-only array");
  DeviceArray array;
  array.data = reinterpret_cast<void*>(py::cast<uintptr_t>(data[0]));
  // An array without elements has no address, and nobody will follow this one.
  if (array.data == nullptr) array.data = reinterpret_cast<void*>(alignof(Element));
  if (reinterpret_cast<uintptr_t>(array.data) % alignof(Element) != 0)
    throw py::value_error(rule.head() + "be aligned, got a misaligned array");
  array.strides.assign(shape.size(), 1);
  const py::object strides = facts.contains("strides") ? py::object(facts["strides"]) : py::object(py::none());
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (strides.is_none()) {
      if (axis + 1 < shape.size()) array.strides[axis] = array.strides[axis + 1] * shape[axis + 1];
    } else {
      const auto bytes = py::cast<int64_t>(py::cast<py::tuple>(strides)[axis]);
      if (shape[axis] > 1 && bytes % static_cast<int64_t>(sizeof(Element)) != 0)
        throw py::value_error(rule.head() + "have strides of whole elements, got " + std::to_string(bytes) + " bytes");
      array.strides[axis] = bytes / static_cast<int64_t>(sizeof(Element));
    }
  }
  return array;
}

// The shape of an array, for arguments of which any shape will do and for those that have to share it.
inline std::vector<int64_t> shape_of(const py::handle& value) {
  return py::cast<std::vector<int64_t>>(value.attr("shape"));
}

// Whether an array holds float64, or else float32.
inline bool is_double(const char* function, const char* name, const py::handle& value) {
  const auto dtype = py::cast<std::string>(py::str(value.attr("dtype")));
  if (dtype == "float32" || dtype == "float64") return dtype == "float64";
  throw py::type_error(std::string(function) + ": " + name + " must have dtype float32 or float64, got " + dtype);
}

// Calls `run` with a number of the named type; `name` says of what it is the dtype.
template <class Run>
auto with_type(const std::string& name, const std::string& dtype, const Run& run) {
  if (dtype == "float32") return run(float{});
  if (dtype == "float64") return run(double{});
  if (dtype == "float16") return run(__half{});
  if (dtype == "bfloat16") return run(__nv_bfloat16{});
  throw py::type_error(name + " must be float32, float64, float16 or bfloat16, got " + dtype);
}

// A dense array, or nullptr for None.
template <class E>
E* dense(const py::handle& value, const DeviceRule& rule) {
  if (value.is_none()) return nullptr;
  const DeviceArray array = checked<E>(value, rule);
  int64_t stride = 1;
  for (size_t axis = rule.shape.size(); axis-- > 0; stride *= rule.shape[axis])
    if (rule.shape[axis] > 1 && array.strides[axis] != stride) throw py::value_error(rule.head() + "be C-contiguous");
  return static_cast<E*>(array.data);
}

// A (T, B) or (T, B, C) array whose last axis, if there is a third, is contiguous; absent for None.
template <class E>
Sequence<E> sequence(const py::handle& value, const DeviceRule& rule) {
  if (value.is_none()) return {};
  const DeviceArray array = checked<E>(value, rule);
  if (rule.shape.size() == 3 && rule.shape[2] > 1 && array.strides[2] != 1)
    throw py::value_error(rule.head() + "have a contiguous last axis");
  return {static_cast<E*>(array.data), array.strides[0], array.strides[1]};
}

template <class E>
E* present(E* data, const DeviceRule& rule) {
  if (data == nullptr) throw py::type_error(rule.head() + "be an array, got None");
  return data;
}

}  // namespace fusedrnn::python
