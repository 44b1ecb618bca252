// Launches and errors of the CUDA runtime: every call is checked, and none waits for the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fusedrnn::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("fusedrnn: ") + what +
                           " failed on the GPU, or work queued before it: " + cudaGetErrorString(status));
}

// Lets a kernel have all the shared memory that a block may have: always the same limit, since threads that launch it
// with less at the same time would lower one another's.
inline void allow_largest_blocks(const void* kernel, const char* name) {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), name);
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), name);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), name);
}

// How a kernel is launched. Cooperative: all blocks are alive together, or there is an error. Cluster: so many blocks
// each share their memory.
struct Shape {
  int64_t blocks;
  int threads;
  size_t shared_bytes = 0;
  bool cooperative = false;
  unsigned cluster = 1;
};

// Lets a kernel run in clusters of more than eight blocks, which not every GPU has.
inline void allow_large_clusters(const void* kernel, const char* name) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), name);
}

// Whether there are blocks to launch; checks how many, and lets the kernel have their shared memory.
inline bool has_blocks(const char* name, const void* kernel, const Shape& shape) {
  if (shape.blocks == 0) return false;
  if (shape.blocks > INT32_MAX) throw std::overflow_error(std::string("fusedrnn: too many blocks for ") + name);
  constexpr size_t kSharedWithoutAsking = 48 << 10;
  if (shape.shared_bytes > kSharedWithoutAsking) allow_largest_blocks(kernel, name);
  return true;
}

// Queues a kernel; no blocks, no launch.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Shape& shape, cudaStream_t stream,
            const Arguments&... arguments) {
  if (!has_blocks(name, reinterpret_cast<const void*>(kernel), shape)) return;
  constexpr unsigned kPortableCluster = 8;
  if (shape.cluster > kPortableCluster) allow_large_clusters(reinterpret_cast<const void*>(kernel), name);
  cudaLaunchAttribute together{};
  if (shape.cooperative) {
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
  } else {
    together.id = cudaLaunchAttributeClusterDimension;
    together.val.clusterDim = {shape.cluster, 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &together;
  config.numAttrs = shape.cooperative || shape.cluster > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The shared memory of a block, as the launch has sized it.
template <class S>
__device__ S& shared_memory() {
  extern __shared__ __align__(16) unsigned char fusedrnn_shared_bytes[];
  return *reinterpret_cast<S*>(fusedrnn_shared_bytes);
}

}  // namespace fusedrnn::cuda
