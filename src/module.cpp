// The extension module fusedrnn._core: the CPU backend behind the contract.
#include <pybind11/pybind11.h>

#include "bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled CPU backend of fusedrnn. The package's layers call it; it checks what it is given.";
  fusedrnn::python::bind_dropout(module);
  fusedrnn::python::bind_embedding(module);
  fusedrnn::python::bind_interrupts(module);
  fusedrnn::python::bind_layer(module);
  fusedrnn::python::bind_matmul(module);
  fusedrnn::python::bind_memory(module);
  fusedrnn::python::bind_optimisers(module);
  fusedrnn::python::bind_runtime(module);
  fusedrnn::python::bind_softmax(module);
  fusedrnn::python::bind_stepper(module);
  fusedrnn::python::bind_vectors(module);
}
