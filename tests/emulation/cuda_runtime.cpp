// The threads of a launch as fibers; see cuda_runtime.h.
#include "cuda_runtime.h"

#include <ucontext.h>

#include <memory>
#include <vector>

constexpr size_t kSharedBytes = 227 << 10;  // as much as a block of the Hopper class may have

// Where shared_memory() of csrc/cuda/launch.h finds it.
namespace fusedrnn::cuda {
alignas(16) unsigned char fusedrnn_shared_bytes[kSharedBytes];
}
using fusedrnn::cuda::fusedrnn_shared_bytes;

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kMostThreads = 1024;

enum class State { kReady, kWaiting, kDone };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state;
};

std::vector<Fiber> fibers;  // of the block that runs
ucontext_t scheduler;
Fiber* current;
const std::function<void()>* body;

void enter() {
  (*body)();
  current->state = State::kDone;
  swapcontext(&current->context, &scheduler);
}

void start(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &enter, 0);
  fiber.state = State::kReady;
}

// Goes round the threads until all are done. Those that wait go on when no other is left to run.
void run_block(unsigned threads) {
  for (unsigned t = 0; t < threads; ++t) start(fibers[t]);
  for (unsigned done = 0; done < threads;) {
    done = 0;
    for (unsigned t = 0; t < threads; ++t) {
      Fiber& fiber = fibers[t];
      if (fiber.state == State::kReady) {
        threadIdx = dim3(t, 0, 0);
        current = &fiber;
        swapcontext(&scheduler, &fiber.context);
      }
      done += fiber.state == State::kDone;
    }
    for (unsigned t = 0; t < threads; ++t)
      if (fibers[t].state == State::kWaiting) fibers[t].state = State::kReady;
  }
}

}  // namespace

void synchronise() {
  const dim3 own = threadIdx;
  current->state = State::kWaiting;
  swapcontext(&current->context, &scheduler);
  threadIdx = own;
}

void yield() { synchronise(); }

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  if (config.blockDim.x > kMostThreads || config.dynamicSmemBytes > kSharedBytes) return cudaErrorInvalidValue;
  gridDim = config.gridDim, blockDim = config.blockDim;
  body = &thread;
  while (fibers.size() < config.blockDim.x) fibers.emplace_back();
  for (unsigned b = 0; b < config.gridDim.x; ++b) {
    blockIdx = dim3(b, 0, 0);
    // Whatever the last block left there.
    for (size_t byte = 0; byte < config.dynamicSmemBytes; ++byte) fusedrnn_shared_bytes[byte] = 0xFF;
    run_block(config.blockDim.x);
  }
  return cudaSuccess;
}

}  // namespace emulation
