// Arrays in memory that is used again, for results and for what a forward pass keeps.
#include <pybind11/stl.h>

#include <memory>

#include "bindings.h"
#include "contract/checked.h"
#include "cpu/buffer.h"
#include "intake.h"
#include "tracing.h"

namespace fusedrnn::python {
namespace {

constexpr uint64_t kHasObjects = 1;  // NPY_ITEM_HASOBJECT

// Under which tracemalloc counts the memory of arrays, so that it counts this as well. Set when the module is loaded.
unsigned int domain = 0;

void release(void* held) {
  const auto* buffer = static_cast<cpu::Buffer*>(held);
  fusedrnn_forget_memory(domain, buffer->data());
  delete buffer;
}

py::array empty(const std::vector<py::ssize_t>& shape, const py::dtype& dtype) {
  int64_t bytes = dtype.itemsize();
  for (const py::ssize_t axis : shape) {
    if (axis < 0) throw py::value_error("empty: shape must have no negative axis, got " + text_of(shape));
    bytes = checked_product({bytes, axis});
  }
  if ((dtype.flags() & kHasObjects) != 0) throw py::type_error("empty: dtype must be one of numbers");
  if (bytes < static_cast<int64_t>(cpu::kSmallMemory)) return py::array(dtype, shape);
  auto buffer = std::make_unique<cpu::Buffer>(static_cast<size_t>(bytes));
  char* const data = buffer->data();
  fusedrnn_count_memory(domain, data, static_cast<size_t>(bytes));
  const py::capsule owner(buffer.get(), &release);
  buffer.release();
  return py::array(dtype, shape, data, owner);
}

}  // namespace

void bind_memory(py::module_& module) {
  domain = py::module_::import("numpy.lib").attr("tracemalloc_domain").cast<unsigned int>();
  module.def(
      "empty", &empty, py::arg("shape"), py::arg("dtype"),
      "An array of any content, C-contiguous. From 64 KB on it is aligned to 64 bytes and its memory is used again.");
}

}  // namespace fusedrnn::python
