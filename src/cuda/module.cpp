// The extension module fusedrnn._cuda: the CUDA backend behind the contract. It is loaded when a GPU is first asked
// for.
#include <pybind11/pybind11.h>

#include "cuda/bindings.h"

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "The compiled CUDA backend of fusedrnn. fusedrnn.backends.cuda calls it; it checks what it is given.";
  fusedrnn::python::bind_dropout(module);
  fusedrnn::python::bind_loops(module);
  fusedrnn::python::bind_norms(module);
  fusedrnn::python::bind_optimisers(module);
  fusedrnn::python::bind_softmax(module);
  fusedrnn::python::bind_sum_by_id(module);
  fusedrnn::python::bind_take_rows(module);
}
