// What the plan has to know of a GPU.
#include "cuda/backend.h"
#include "cuda/barrier.h"
#include "cuda/launch.h"

namespace fusedrnn::cuda {

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
  return device;
}

int64_t arrived_numbers(const Device& device) { return device.multiprocessors * kCounterPitch; }

}  // namespace fusedrnn::cuda
