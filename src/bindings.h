// What module.cpp puts together, one function a file.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedrnn::python {

void bind_dropout(pybind11::module_& module);
void bind_embedding(pybind11::module_& module);
void bind_interrupts(pybind11::module_& module);
void bind_layer(pybind11::module_& module);
void bind_matmul(pybind11::module_& module);
void bind_memory(pybind11::module_& module);
void bind_optimisers(pybind11::module_& module);
void bind_runtime(pybind11::module_& module);
void bind_softmax(pybind11::module_& module);
void bind_stepper(pybind11::module_& module);
void bind_vectors(pybind11::module_& module);

}  // namespace fusedrnn::python
