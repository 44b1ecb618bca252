// What the blocks of a cluster have in common: a barrier, and each other's shared memory (compute capability 9.0 on).
#pragma once

#include <cuda_runtime.h>

namespace fusedrnn::cuda {

// What a block of the cluster wrote to any shared memory before it came is there for all of them afterwards.
__device__ inline void meet_cluster() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  __syncwarp();  // all threads of a warp arrive together
  __cluster_barrier_arrive();
  __cluster_barrier_wait();
#else
  __trap();  // the plan takes no clusters there
#endif
}

// The same place as `shared` in the block of that rank.
template <class T>
__device__ T* in_block(T* shared, unsigned rank) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  return static_cast<T*>(__cluster_map_shared_rank(shared, rank));
#else
  return nullptr;
#endif
}

}  // namespace fusedrnn::cuda
