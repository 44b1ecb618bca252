// Ctrl-C, and any other signal that Python handles, while a kernel runs.
#include <pybind11/pybind11.h>

#include "bindings.h"
#include "cpu/pool.h"

namespace fusedrnn::python {
namespace {

namespace py = pybind11;

// Python calls the handlers of signals on this thread alone.
unsigned long main_thread = 0;

// Runs handlers that wait; throws what they raise, so that the kernel stops and its caller sees it.
void handle_signals() {
  if (PyThread_get_thread_ident() != main_thread) return;  // and so never waits for the interpreter's lock
  const py::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

}  // namespace

void bind_interrupts(py::module_&) {
  main_thread = py::cast<unsigned long>(py::module_::import("threading").attr("main_thread")().attr("ident"));
  cpu::set_question(&handle_signals);
}

}  // namespace fusedrnn::python
