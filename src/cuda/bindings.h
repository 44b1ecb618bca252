// What module.cpp puts together, one function a file.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedrnn::python {

void bind_dropout(pybind11::module_& module);
void bind_loops(pybind11::module_& module);
void bind_norms(pybind11::module_& module);
void bind_optimisers(pybind11::module_& module);
void bind_softmax(pybind11::module_& module);
void bind_sum_by_id(pybind11::module_& module);
void bind_take_rows(pybind11::module_& module);

}  // namespace fusedrnn::python
