// The loops through time: what runs from step to step is made ready, then the plan's tier runs over all steps.
#include "cuda/backend.h"
#include "cuda/backward_step.h"
#include "cuda/forward_step.h"
#include "cuda/grid_loops.h"

namespace fusedrnn::cuda {
namespace {

constexpr int64_t kFewRows = 8;  // up to so many a thread makes one row, else kManyRows
constexpr int kManyRows = 4;

int64_t live_rows(const Rows& rows, const int64_t* first, int64_t s) {
  return first == nullptr ? rows.rows : first[s + 1] - first[s];
}

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

// Launches the kernel of R rows a thread over all tiles of rows times columns.
template <class T, int G, int R, class Loop>
void launch_step(const char* name, void (*kernel)(Loop, int64_t), int64_t rows, int64_t columns, const Loop& loop,
                 int64_t s, cudaStream_t stream) {
  using Tiles = Tile<T, G, R>;
  const Shape shape{Tiles::blocks(rows, columns), Tiles::kThreads, sizeof(typename Tiles::Shared)};
  launch(name, kernel, shape, stream, loop, s);
}

template <class Cell, class T, int R>
void forward_step(const ForwardLoop<T>& loop, int64_t s, int64_t live, cudaStream_t stream) {
  const Sizes& sizes = loop.sizes;
  launch_step<T, Cell::kGates, R>("forward step", &forward_step_kernel<Cell, T, R>, live, sizes.H, loop, s, stream);
  if (loop.w_hr != nullptr)
    launch_step<T, 1, R>("projection step", &project_step_kernel<T, R>, live, sizes.P, loop, s, stream);
}

template <class Cell, class T, int R>
void backward_step(const BackwardLoop<T>& loop, int64_t s, int64_t live, cudaStream_t stream) {
  const Sizes& sizes = loop.sizes;
  launch_step<T, 1, R>("backward step", &backward_step_kernel<Cell, T, R>, live, sizes.P, loop, s, stream);
  if (loop.w_hr != nullptr && s >= 0)
    launch_step<T, 1, R>("backward projection step", &unproject_step_kernel<Cell, T, R>, live, sizes.H, loop, s,
                         stream);
}

// Launches the kernel of tier grid.
template <class T, class Loop>
void launch_grid(const char* name, void (*kernel)(Loop, Plan, unsigned long long*), const Loop& loop, const Plan& plan,
                 int64_t depth, int gates, unsigned long long* arrived, cudaStream_t stream) {
  const int64_t bytes = grid_shared_bytes<T>(depth, plan.units, gates);
  check(cudaMemsetAsync(arrived, 0, static_cast<size_t>(plan.groups) * sizeof(*arrived), stream), "clearing a barrier");
  const Shape shape{plan.slices * plan.groups, kGridThreads, static_cast<size_t>(bytes), true};
  launch(name, kernel, shape, stream, loop, plan, arrived);
}

template <class Cell, class T>
void forward_loop(const ForwardLoop<T>& loop, const Plan& plan, const Host& host) {
  const Sizes& sizes = loop.sizes;
  for (int k = 0; k < Cell::kStates; ++k)
    enter(loop.state_in[k], loop.state_out[k], loop.running[k], sizes.B * (k == 0 ? sizes.P : sizes.H), host.stream);
  if (plan.tier == Tier::kGrid && sizes.T > 0)
    return launch_grid<T>("forward grid", &forward_grid_kernel<Cell, T>, loop, plan, sizes.P, Cell::kGates,
                          host.arrived, host.stream);
  for (int64_t s = 0; s < sizes.T; ++s) {
    const int64_t live = live_rows(loop.rows, host.first, s);
    if (live <= kFewRows)
      forward_step<Cell, T, 1>(loop, s, live, host.stream);
    else
      forward_step<Cell, T, kManyRows>(loop, s, live, host.stream);
  }
}

template <class Cell, class T>
void backward_loop(const BackwardLoop<T>& loop, const Plan& plan, const Host& host) {
  const Sizes& sizes = loop.sizes;
  for (int k = 0; k < Cell::kStates; ++k)
    enter(loop.dstate_out[k], loop.dstate_in[k], loop.running[k], sizes.B * (k == 0 ? sizes.P : sizes.H), host.stream);
  if (sizes.T == 0) return;
  if (plan.tier == Tier::kGrid)
    return launch_grid<T>("backward grid", &backward_grid_kernel<Cell, T>, loop, plan, Cell::kGates * sizes.H, 1,
                          host.arrived, host.stream);
  for (int64_t s = sizes.T - 1; s >= -1; --s) {
    const int64_t live = live_rows(loop.rows, host.first, s < 0 ? 0 : s);
    if (live <= kFewRows)
      backward_step<Cell, T, 1>(loop, s, live, host.stream);
    else
      backward_step<Cell, T, kManyRows>(loop, s, live, host.stream);
  }
}

}  // namespace

template <class T>
void forward(int cell, const ForwardLoop<T>& loop, const Plan& plan, const Host& host) {
  using Loop = void (*)(const ForwardLoop<T>&, const Plan&, const Host&);
#define FUSEDRNN_ENTRY(name, Cell) &forward_loop<Cell, T>,
  constexpr Loop kLoops[] = {FUSEDRNN_CELLS(FUSEDRNN_ENTRY)};
#undef FUSEDRNN_ENTRY
  kLoops[cell](loop, plan, host);
}

template <class T>
void backward(int cell, const BackwardLoop<T>& loop, const Plan& plan, const Host& host) {
  using Loop = void (*)(const BackwardLoop<T>&, const Plan&, const Host&);
#define FUSEDRNN_ENTRY(name, Cell) &backward_loop<Cell, T>,
  constexpr Loop kLoops[] = {FUSEDRNN_CELLS(FUSEDRNN_ENTRY)};
#undef FUSEDRNN_ENTRY
  kLoops[cell](loop, plan, host);
}

#define FUSEDRNN_INSTANTIATE(T)                                                   \
  template void forward<T>(int, const ForwardLoop<T>&, const Plan&, const Host&); \
  template void backward<T>(int, const BackwardLoop<T>&, const Plan&, const Host&);
FUSEDRNN_INSTANTIATE(float)
FUSEDRNN_INSTANTIATE(double)
FUSEDRNN_INSTANTIATE(__half)
FUSEDRNN_INSTANTIATE(__nv_bfloat16)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
