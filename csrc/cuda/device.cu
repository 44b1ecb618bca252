// What the plan has to know of a GPU.
#include "cuda/backend.h"
#include "cuda/barrier.h"
#include "cuda/launch.h"

namespace fusedrnn::cuda {

namespace {

// Blocks of a cluster, by compute capability: eight from 9.0 on, and sixteen where a kernel may ask for more.
int most_cluster(int major) {
  if (major < 9) return 1;
  return major < 11 ? 16 : 8;
}

}  // namespace

Device current_device() {
  int number = 0;
  check(cudaGetDevice(&number), "asking for the current GPU");
  const auto ask = [&](cudaDeviceAttr attribute) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, number), "asking a GPU what it has");
    return value;
  };
  Device device{};
  device.multiprocessors = ask(cudaDevAttrMultiProcessorCount);
  device.shared_bytes = ask(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  device.cooperative = ask(cudaDevAttrCooperativeLaunch) != 0;
  device.most_cluster = most_cluster(ask(cudaDevAttrComputeCapabilityMajor));
  return device;
}

int64_t arrived_numbers(const Device& device) { return device.multiprocessors * kCounterPitch; }

}  // namespace fusedrnn::cuda
