/* Python's account of memory (tracemalloc), for memory that does not come from Python. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void fusedrnn_count_memory(unsigned int domain, const void* at, size_t bytes);
void fusedrnn_forget_memory(unsigned int domain, const void* at);

#ifdef __cplusplus
}
#endif
