// Where the blocks of a group meet after every step: a counter in memory that only grows.
//
// All blocks of a cooperative launch are alive together, so those that wait are waited for. Should one never come, the
// wait has an end: the launch fails with an error that the next synchronising call raises, instead of hanging. After
// such an error CUDA gives up the whole context.
//
// What a block wrote before it came is there for plain loads of the others afterwards: the barrier of the block, the
// fence and the counter order it, and the fence empties the first-level cache.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fusedrnn::cuda {

constexpr uint64_t kMostTurns = uint64_t{1} << 25;  // ten seconds or more
constexpr int64_t kCounterPitch = 16;               // counters apart, so that no two groups ask for one cache line

// Blocks of one group; `arrived` is 0 before the launch. `meeting` counts from 1.
__device__ inline void meet_at(unsigned long long* arrived, uint64_t meeting, uint64_t blocks) {
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
