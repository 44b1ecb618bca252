// The threads of a launch as fibers; see cuda_runtime.h.
#include "cuda_runtime.h"

#include <ucontext.h>

#include <deque>
#include <memory>
#include <vector>

// Where shared_memory() of csrc/cuda/launch.h finds the shared memory of the block that runs.
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

struct Block {
  unsigned number;
  std::vector<Fiber*> threads;
  std::vector<unsigned char> shared;  // while another block runs
  bool done = false;
};

std::deque<Fiber> fibers;
ucontext_t scheduler;
Fiber* current;
const std::function<void()>* body;

void enter() {
  (*body)();
  current->state = State::kDone;
  swapcontext(&current->context, &scheduler);
}

void leave(State state) {
  const dim3 thread = threadIdx, block = blockIdx;
  current->state = state;
  swapcontext(&current->context, &scheduler);
  threadIdx = thread, blockIdx = block;
}

void start(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &enter, 0);
  fiber.state = State::kReady;
}

// Every thread of the block that is ready goes on until it waits, hands over or is done. When none is ready any more,
// those that wait are.
void go_round(Block& block) {
  const std::vector<Fiber*>& threads = block.threads;
  std::memcpy(fusedrnn_shared_bytes, block.shared.data(), block.shared.size());
  blockIdx = dim3(block.number, 0, 0);
  unsigned ready = 0, done = 0;
  for (unsigned t = 0; t < threads.size(); ++t) {
    if (threads[t]->state == State::kReady) {
      threadIdx = dim3(t, 0, 0);
      current = threads[t];
      swapcontext(&scheduler, &threads[t]->context);
    }
    ready += threads[t]->state == State::kReady;
    done += threads[t]->state == State::kDone;
  }
  if (ready == 0)
    for (Fiber* thread : threads)
      if (thread->state == State::kWaiting) thread->state = State::kReady;
  block.done = done == threads.size();
  std::memcpy(block.shared.data(), fusedrnn_shared_bytes, block.shared.size());
}

// Blocks [begin, end) together.
void run_blocks(unsigned begin, unsigned end, const cudaLaunchConfig_t& config) {
  const unsigned threads = config.blockDim.x;
  while (fibers.size() < static_cast<size_t>(end - begin) * threads) fibers.emplace_back();
  std::vector<Block> blocks(end - begin);
  for (unsigned b = 0; b < blocks.size(); ++b) {
    blocks[b].number = begin + b;
    blocks[b].shared.assign(config.dynamicSmemBytes, 0xFF);  // whatever was left there
    for (unsigned t = 0; t < threads; ++t) blocks[b].threads.push_back(&fibers[b * threads + t]);
    for (Fiber* fiber : blocks[b].threads) start(*fiber);
  }
  for (bool all = false; !all;) {
    all = true;
    for (unsigned b = 0; b < blocks.size(); ++b) {
      if (!blocks[b].done) go_round(blocks[b]);
      all = all && blocks[b].done;
    }
  }
}

}  // namespace

void synchronise() { leave(State::kWaiting); }

void yield() { leave(State::kReady); }

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const bool together = config.numAttrs > 0 && config.attrs->val.cooperative != 0;
  const unsigned blocks = config.gridDim.x;
  if (config.blockDim.x > kMostThreads || config.dynamicSmemBytes > kSharedBytes) return cudaErrorInvalidValue;
  if (together && blocks > kMultiprocessors) return cudaErrorInvalidValue;
  gridDim = config.gridDim, blockDim = config.blockDim;
  body = &thread;
  for (unsigned b = 0; b < blocks; b += together ? blocks : 1) run_blocks(b, together ? blocks : b + 1, config);
  return cudaSuccess;
}

}  // namespace emulation
