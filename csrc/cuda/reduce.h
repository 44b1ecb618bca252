// One number from those of all threads of a block, by a tree of fixed form, so that the bits repeat.
#pragma once

#include <cuda_runtime.h>

namespace fusedrnn::cuda {

// Every thread of a block of kThreads, a power of 2, calls it and gets the result. lanes (kThreads) is shared memory.
template <int kThreads, class T, class Combine>
__device__ T reduce_block(T value, T* lanes, Combine combine) {
  const int own = static_cast<int>(threadIdx.x);
  lanes[own] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (own < half) lanes[own] = combine(lanes[own], lanes[own + half]);
  }
  __syncthreads();
  const T result = lanes[0];
  __syncthreads();  // lanes may be written again
  return result;
}

// The second one unless the first is larger; so it passes over a NaN that is not in the second place.
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

}  // namespace fusedrnn::cuda
