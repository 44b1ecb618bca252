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

}  // namespace

template <class T>
void forward(int cell, const ForwardLoop<T>& loop, const Plan& plan, const Host& host) {
  for (int k = 0; loop.part.enters && k < kCells[cell].states; ++k)
    enter(loop.state_in[k], loop.state_out[k], loop.running[k], numbers_of(loop.sizes, k), host.stream);
  if (loop.part.begin == loop.part.end) return;
  if (plan.tier == Tier::kGrid)
    forward_grid(cell, loop, plan, host);
  else
    forward_steps(cell, loop, plan, host);
}

template <class T>
void backward(int cell, const BackwardLoop<T>& loop, const Plan& plan, const Host& host) {
  for (int k = 0; loop.part.enters && k < kCells[cell].states; ++k)
    enter(loop.dstate_out[k], loop.dstate_in[k], loop.running[k], numbers_of(loop.sizes, k), host.stream);
  if (loop.part.begin == loop.part.end) return;
  if (plan.tier == Tier::kGrid)
    backward_grid(cell, loop, plan, host);
  else
    backward_steps(cell, loop, plan, host);
}

#define FUSEDRNN_INSTANTIATE(T)                                                   \
  template void forward<T>(int, const ForwardLoop<T>&, const Plan&, const Host&); \
  template void backward<T>(int, const BackwardLoop<T>&, const Plan&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
