// Copies to shared memory beside the work of a thread, see cuda_runtime.h: none is done before it has to be.
#pragma once

#include <cuda_runtime.h>

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes) {
  emulation::copy_later(to, from, bytes);
}
inline void __pipeline_commit() { emulation::commit_copies(); }
inline void __pipeline_wait_prior(size_t batches) { emulation::finish_copies(batches); }
