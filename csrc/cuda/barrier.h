// Where the blocks of a group meet after every step: a counter in memory that only grows.
//
// All blocks of a cooperative launch are alive together, so those that wait are waited for. Should one never come, the
// wait has an end: the launch fails with an error that the next synchronising call raises, instead of hanging.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fusedrnn::cuda {

constexpr uint64_t kMostTurns = uint64_t{1} << 32;  // minutes

// Blocks of one group; `arrived` is 0 before the launch. `meeting` counts from 1.
__device__ inline void meet(unsigned long long* arrived, uint64_t meeting, uint64_t blocks) {
  __syncthreads();
  if (threadIdx.x == 0 && blocks > 1) {
    __threadfence();
    atomicAdd(arrived, 1ull);
    volatile unsigned long long* now = arrived;
    for (uint64_t turn = 0; *now < meeting * blocks; ++turn) {
      if (turn > kMostTurns) __trap();
      __nanosleep(20);
    }
    __threadfence();
  }
  __syncthreads();
}

}  // namespace fusedrnn::cuda
