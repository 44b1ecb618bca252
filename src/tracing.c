/* In C, since Python's header, up to 3.12, does not tell C++ that these functions are. */
#include "tracing.h"

#include <Python.h>

void fusedrnn_count_memory(unsigned int domain, const void* at, size_t bytes) {
  PyTraceMalloc_Track(domain, (uintptr_t)at, bytes); /* does nothing unless somebody asked for the account */
}

void fusedrnn_forget_memory(unsigned int domain, const void* at) { PyTraceMalloc_Untrack(domain, (uintptr_t)at); }
