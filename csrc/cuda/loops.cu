// The loops through time: where one begins, states are made ready; then the plan's tier runs over the steps of the
// call.
#include "cuda/loops.h"

#include "cells/registry.h"
#include "cuda/launch.h"

namespace fusedrnn::cuda {
namespace {

template <class T>
__global__ void widen_kernel(const T* from, Wide<T>* to, const int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) to[i] = from == nullptr ? Wide<T>(0) : wide(from[i]);
}

// A state begins as `from`, or as zeros: in `to`, and in `running` unless that is the same array.
template <class T>
void enter(const T* from, T* to, Wide<T>* running, int64_t count, cudaStream_t stream) {
  constexpr int kThreads = 256;
  if (count == 0) return;
  const size_t bytes = static_cast<size_t>(count) * sizeof(T);
  if (from == nullptr)
    check(cudaMemsetAsync(to, 0, bytes, stream), "clearing a state");
  else
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying a state");
  if (running != nullptr && static_cast<void*>(running) != to)
    launch("widening a state", &widen_kernel<T>, {divide_up(count, kThreads), kThreads}, stream, from, running, count);
}

int64_t numbers_of(const Sizes& sizes, int state) { return sizes.B * (state == 0 ? sizes.P : sizes.H); }

// Runs all directions together, or one after the other where the plan is that of one.
template <class Loop, class Run>
void run_together(const Directions<Loop>& loops, const Plan& plan, const Run& run) {
  if (loops.of[0].part.begin == loops.of[0].part.end) return;
  if (plan.directions == loops.count) return run(loops);
  for (int d = 0; d < loops.count; ++d) run({{loops.of[d]}, 1});
}

}  // namespace

template <class T>
void forward(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  for (int d = 0; d < loops.count; ++d) {
    const ForwardLoop<T>& loop = loops.of[d];
    for (int k = 0; loop.part.enters && k < kCells[cell].states; ++k)
      enter(loop.state_in[k], loop.state_out[k], loop.running[k], numbers_of(loop.sizes, k), host.stream);
  }
  run_together(loops, plan, [&](const Directions<ForwardLoop<T>>& these) {
    (plan.tier == Tier::kStep ? &forward_steps<T> : &forward_resident<T>)(cell, these, plan, host);
  });
}

template <class T>
void backward(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  for (int d = 0; d < loops.count; ++d) {
    const BackwardLoop<T>& loop = loops.of[d];
    for (int k = 0; loop.part.enters && k < kCells[cell].states; ++k)
      enter(loop.dstate_out[k], loop.dstate_in[k], loop.running[k], numbers_of(loop.sizes, k), host.stream);
  }
  run_together(loops, plan, [&](const Directions<BackwardLoop<T>>& these) {
    (plan.tier == Tier::kStep ? &backward_steps<T> : &backward_resident<T>)(cell, these, plan, host);
  });
}

#define FUSEDRNN_INSTANTIATE(T)                                                               \
  template void forward<T>(int, const Directions<ForwardLoop<T>>&, const Plan&, const Host&); \
  template void backward<T>(int, const Directions<BackwardLoop<T>>&, const Plan&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
