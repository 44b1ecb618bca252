// The arguments of a layer's forward and backward, see `PackedLayer` of fusedrnn.backends, as problems of the contract.
// What does not fit is an error in the words of intake.h.
#pragma once

#include <pybind11/pybind11.h>

#include "contract/problem.h"
#include "cpu/backend.h"

namespace fusedrnn::python {

template <class T>
ForwardProblem<T> forward_problem(const cpu::PackedLayer<T>& layer, const pybind11::tuple& arguments);

template <class T>
BackwardProblem<T> backward_problem(const cpu::PackedLayer<T>& layer, const pybind11::tuple& arguments);

}  // namespace fusedrnn::python
