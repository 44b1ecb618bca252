// A stand-in for the CUDA runtime that runs kernels on the host, so that every kernel is tested where no GPU is.
//
// The sources of csrc/cuda compile against it unchanged. A launch runs at once: block after block, each thread of a
// block as a fiber that goes on until it waits for the others. The blocks of a cluster are alive together, and so are
// all blocks of a cooperative launch; a thread that spins hands over to the next (__nanosleep). Device memory is host
// memory; a stream is nothing. What it does not show: races between warps, memory order, speed. Graphs run when they
// are launched, and a test says when a stream is being captured, in which launches then run as ever (cuda_graphs.cpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
using cudaStream_t = void*;

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaFuncAttributeNonPortableClusterSizeAllowed };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrCooperativeLaunch,
  cudaDevAttrComputeCapabilityMajor
};
enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative, cudaLaunchAttributeClusterDimension };

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int cooperative;
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

// A small GPU, so that small problems need several groups of blocks; FUSEDRNN_EMULATED_MULTIPROCESSORS makes a larger
// one.
inline int emulated_multiprocessors() {
  const char* number = std::getenv("FUSEDRNN_EMULATED_MULTIPROCESSORS");
  return number == nullptr ? 6 : std::atoi(number);
}
constexpr int kSharedBytes = 227 << 10;
constexpr int kComputeCapabilityMajor = 9;

extern dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread that runs

namespace emulation {

void yield();        // lets the other threads of the launch go on
void synchronise();  // waits for the other threads of the block
void synchronise_warp();
void synchronise_cluster();                            // waits for the other threads of all blocks of the cluster
void* shared_of_block(const void* at, unsigned rank);  // the same place in the shared memory of a block of the cluster
void copy_later(void* to, const void* from, size_t bytes);
void commit_copies();                // what this thread has begun is a batch
void finish_copies(size_t batches);  // all but the last so many
cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread);

}  // namespace emulation

inline void __syncthreads() { emulation::synchronise(); }
inline void __syncwarp() { emulation::synchronise_warp(); }
inline void __cluster_barrier_arrive() {}
inline void __cluster_barrier_wait() { emulation::synchronise_cluster(); }
inline void* __cluster_map_shared_rank(const void* at, unsigned rank) { return emulation::shared_of_block(at, rank); }
inline void __threadfence() {}
[[noreturn]] inline void __trap() { std::abort(); }

struct uint4 {
  unsigned x, y, z, w;
};

template <class T>
T __ldcg(const T* p) {
  return *p;
}

inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long more) {
  const unsigned long long before = *at;
  *at += more;
  return before;
}
inline void __nanosleep(unsigned) { emulation::yield(); }

inline const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : "invalid argument";
}

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount            ? emulated_multiprocessors()
           : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? kSharedBytes
           : attribute == cudaDevAttrComputeCapabilityMajor       ? kComputeCapabilityMajor
                                                                  : 1;
  return cudaSuccess;
}

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  return bytes <= kSharedBytes ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  return emulation::run(*config, [&] { kernel(arguments...); });
}

// ---- launches by address, and graphs of them: cuda_graphs.cpp
// --------------------------------------------------------

namespace emulation {

// A kernel among others: CUDA knows it by its address alone and finds the types of its parameters elsewhere.
class Kernel {
 public:
  Kernel() = default;

  template <class... Parameters>
  explicit Kernel(void (*kernel)(Parameters...)) {
    bind_ = [kernel](void** arguments) { return bound(kernel, arguments, std::index_sequence_for<Parameters...>()); };
  }

  // What a thread does, with copies of the arguments.
  std::function<void()> bind(void** arguments) const { return bind_(arguments); }

 private:
  template <class... Parameters, size_t... Index>
  static std::function<void()> bound(void (*kernel)(Parameters...), void** arguments, std::index_sequence<Index...>) {
    return [kernel, copies = std::tuple<Parameters...>(*static_cast<Parameters*>(arguments[Index])...)] {
      std::apply(kernel, copies);
    };
  }

  std::function<std::function<void()>(void**)> bind_;
};

struct Node {
  cudaLaunchConfig_t config;
  std::function<void()> thread;
  std::vector<const Node*> before;
};

struct Graph;       // nodes
struct Executable;  // and copies of them

}  // namespace emulation

using cudaGraph_t = emulation::Graph*;
using cudaGraphExec_t = emulation::Executable*;
using cudaGraphNode_t = emulation::Node*;

enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };

struct cudaKernelNodeParams {
  emulation::Kernel func;
  dim3 gridDim, blockDim;
  unsigned sharedMemBytes;
  void** kernelParams;
  void** extra;
};

cudaError_t cudaLaunchKernel(const emulation::Kernel& kernel, dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t stream);
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);
cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* before,
                                   size_t before_count, const cudaKernelNodeParams* parameters);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t executable, cudaGraphNode_t node,
                                             const cudaKernelNodeParams* parameters);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
