// Launches and errors of the CUDA runtime: every call is checked, and none waits for the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace fusedrnn::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("fusedrnn: ") + what + " failed on the GPU: " + cudaGetErrorString(status));
}

// Launches kernel<<<blocks, threads, shared_bytes, stream>>>; no blocks, no launch.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  if (blocks == 0) return;
  if (blocks > INT32_MAX) throw std::overflow_error(std::string("fusedrnn: too many blocks for ") + name);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
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
