// The threads of a launch as fibers; see cuda_runtime.h.
#include "cuda_runtime.h"

#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

constexpr size_t kBeyond = 64;  // bytes behind the shared memory of a block, which nobody may write

// Where shared_memory() of csrc/cuda/launch.h finds the shared memory of the block that runs.
namespace fusedrnn::cuda {
alignas(16) unsigned char fusedrnn_shared_bytes[kSharedBytes + kBeyond];
}
using fusedrnn::cuda::fusedrnn_shared_bytes;

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr size_t kStackBytes = 64 << 10;
constexpr unsigned kMostThreads = 1024, kWarp = 32;
constexpr unsigned char kUntouched = 0xFF;

enum class State { kReady, kWaiting, kWaitingForWarp, kWaitingForCluster, kDone };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state;
  std::deque<std::vector<Copy>> copies;  // by batch; the last one is still open
};

struct Block {
  unsigned number;
  std::vector<Fiber*> threads;
  std::vector<unsigned char> shared;  // while another block runs
  bool done = false;
};

std::deque<Fiber> fibers;
std::vector<Block> together;  // the blocks that are alive
unsigned running;             // which of them runs
ucontext_t scheduler;
std::mutex device;  // launches of several host threads run one after another
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
  fiber.copies.assign(1, {});
}

// Those of the threads [begin, end) that wait in `state` go on, unless one of them has yet to come. Whether any did.
bool release(const std::vector<Fiber*>& threads, size_t begin, size_t end, State state) {
  bool any = false;
  for (size_t t = begin; t < end; ++t)
    if (threads[t]->state != state && threads[t]->state != State::kDone) return false;
  for (size_t t = begin; t < end; ++t)
    if (threads[t]->state == state) threads[t]->state = State::kReady, any = true;
  return any;
}

// With FUSEDRNN_EMULATED_ORDER threads and blocks run in an order that is drawn anew each time, and a block may miss a
// turn: what works by luck of the order does not always work.
bool is_drawn() { return std::getenv("FUSEDRNN_EMULATED_ORDER") != nullptr; }

std::mt19937 generator(0);

// The numbers below `count` in the order in which threads or blocks run.
std::vector<unsigned> order_of(size_t count) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (is_drawn()) std::shuffle(order.begin(), order.end(), generator);
  return order;
}

// Every thread that is ready goes on until it waits, hands over or is done.
void run_ready(const std::vector<Fiber*>& threads) {
  for (const unsigned t : order_of(threads.size()))
    if (threads[t]->state == State::kReady) {
      threadIdx = dim3(t, 0, 0);
      current = threads[t];
      swapcontext(&scheduler, &threads[t]->context);
    }
}

// A block runs until all of its warps wait for one another or hand over.
void go_round(Block& block) {
  const std::vector<Fiber*>& threads = block.threads;
  std::memcpy(fusedrnn_shared_bytes, block.shared.data(), block.shared.size());
  blockIdx = dim3(block.number, 0, 0);
  for (bool again = true; again;) {
    run_ready(threads);
    again = false;
    for (size_t t = 0; t < threads.size(); t += kWarp)
      again = release(threads, t, std::min(t + kWarp, threads.size()), State::kWaitingForWarp) || again;
  }
  release(threads, 0, threads.size(), State::kWaiting);
  block.done = std::all_of(threads.begin(), threads.end(), [](const Fiber* f) { return f->state == State::kDone; });
  std::memcpy(block.shared.data(), fusedrnn_shared_bytes, block.shared.size());
}

// The blocks that are alive go on where all of their threads wait for the cluster.
void release_cluster() {
  const auto waits = [](const Fiber* f) { return f->state == State::kWaitingForCluster || f->state == State::kDone; };
  for (const Block& block : together)
    if (!std::all_of(block.threads.begin(), block.threads.end(), waits)) return;
  for (Block& block : together) release(block.threads, 0, block.threads.size(), State::kWaitingForCluster);
}

void check_beyond(const Block& block) {
  const auto untouched = [](unsigned char byte) { return byte == kUntouched; };
  if (!std::all_of(block.shared.end() - kBeyond, block.shared.end(), untouched)) std::abort();
}

// Blocks [begin, end) together.
void run_blocks(unsigned begin, unsigned end, const cudaLaunchConfig_t& config) {
  const unsigned threads = config.blockDim.x;
  while (fibers.size() < static_cast<size_t>(end - begin) * threads) fibers.emplace_back();
  together.assign(end - begin, {});
  for (unsigned b = 0; b < together.size(); ++b) {
    together[b].number = begin + b;
    together[b].shared.assign(config.dynamicSmemBytes + kBeyond, kUntouched);  // whatever was left there
    for (unsigned t = 0; t < threads; ++t) together[b].threads.push_back(&fibers[b * threads + t]);
    for (Fiber* fiber : together[b].threads) start(*fiber);
  }
  for (bool all = false; !all;) {
    all = true;
    for (const unsigned block : order_of(together.size())) {
      running = block;
      const bool misses = is_drawn() && generator() % 2 == 0;
      if (!together[running].done && !misses) go_round(together[running]);
      all = all && together[running].done;
      if (together[running].done) check_beyond(together[running]);
    }
    release_cluster();
  }
}

}  // namespace

void synchronise() { leave(State::kWaiting); }

void synchronise_warp() { leave(State::kWaitingForWarp); }

void synchronise_cluster() { leave(State::kWaitingForCluster); }

void* shared_of_block(const void* at, unsigned rank) {
  const auto offset = static_cast<const unsigned char*>(at) - fusedrnn_shared_bytes;
  if (together.at(rank).done) std::abort();  // its memory may be another block's by now
  return (rank == running ? fusedrnn_shared_bytes : together.at(rank).shared.data()) + offset;
}

void copy_later(void* to, const void* from, size_t bytes) { current->copies.back().push_back({to, from, bytes}); }

void commit_copies() { current->copies.emplace_back(); }

void finish_copies(size_t batches) {
  for (; current->copies.size() > batches + 1; current->copies.pop_front())
    for (const Copy& copy : current->copies.front()) std::memcpy(copy.to, copy.from, copy.bytes);
}

void yield() { leave(State::kReady); }

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const bool cooperative = config.numAttrs > 0 && config.attrs->id == cudaLaunchAttributeCooperative;
  const bool clusters = config.numAttrs > 0 && config.attrs->id == cudaLaunchAttributeClusterDimension;
  const unsigned blocks = config.gridDim.x, most = static_cast<unsigned>(emulated_multiprocessors());
  const unsigned alive = cooperative ? blocks : clusters ? config.attrs->val.clusterDim.x : 1;
  if (config.blockDim.x > kMostThreads || config.dynamicSmemBytes > kSharedBytes) return cudaErrorInvalidValue;
  if (alive == 0 || alive > most || blocks % alive != 0) return cudaErrorInvalidValue;
  const std::lock_guard<std::mutex> lock(device);
  gridDim = config.gridDim, blockDim = config.blockDim;
  body = &thread;
  for (unsigned b = 0; b < blocks; b += alive) run_blocks(b, b + alive, config);
  return cudaSuccess;
}

}  // namespace emulation
