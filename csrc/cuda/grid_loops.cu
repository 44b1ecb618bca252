// Tier grid: all steps of a call in one launch. A block keeps its part of the recurrent weights, that of its units, in
// shared memory; the blocks of a group, which have rows of their own, meet after every step.
#include "cuda/backward_step.h"
#include "cuda/barrier.h"
#include "cuda/forward_step.h"
#include "cuda/loops.h"
#include "cuda/resident.h"

namespace fusedrnn::cuda {
namespace {

// The place of a block in the plan.
struct Seat {
  int64_t slice, group, begin, end;  // part of the units, group, and the rows of the group

  FUSEDRNN_INLINE Seat(const Plan& plan, int64_t block, int64_t rows)
      : slice(block % plan.slices), group(block / plan.slices), begin(group * plan.group_rows) {
    end = begin + plan.group_rows < rows ? begin + plan.group_rows : rows;
  }
};

template <class Cell, class T>
__global__ void __launch_bounds__(kGridThreads, 1)
    forward_grid_kernel(const ForwardLoop<T> p, const Plan plan, unsigned long long* arrived) {
  const Seat seat(plan, blockIdx.x, p.sizes.B);
  const Factor<T> w_hh{p.w_hh, 1, p.sizes.P, p.sizes.H * p.sizes.P};
  const Resident<T> weights(w_hh, p.sizes.H, p.sizes.P, Cell::kGates, plan.units, seat.slice);
  const Sequence<const T> y{p.y.data, p.y.step_stride, p.y.row_stride};
  for (int64_t s = p.part.begin; s < p.part.end; ++s) {
    const int64_t live = p.rows.live(s);
    if (live <= seat.begin) return;  // rows are in order of length: none of the group lives any more
    weights.template multiply<Cell::kGates>(
        seat.begin, live < seat.end ? live : seat.end, [&](int64_t m) { return output_before(p, y, s, m); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) { forward_unit<Cell>(p, s, m, j, sums); });
    meet(arrived + seat.group * kCounterPitch, s + 1 - p.part.begin, plan.slices);
  }
}

template <class Cell, class T>
__global__ void __launch_bounds__(kGridThreads, 1)
    backward_grid_kernel(const BackwardLoop<T> p, const Plan plan, unsigned long long* arrived) {
  const Seat seat(plan, blockIdx.x, p.sizes.B);
  const int64_t gates = Cell::kGates * p.sizes.H;
  const Resident<T> weights(Factor<T>{p.w_hh, p.sizes.P, 1, 0}, p.sizes.P, gates, 1, plan.units, seat.slice);
  for (int64_t s = p.part.end - 1, meeting = 0; s >= p.part.begin - 1; --s) {
    const int64_t live = p.rows.live(s < 0 ? 0 : s);
    if (live <= seat.begin) continue;
    weights.template multiply<1>(
        seat.begin, live < seat.end ? live : seat.end, [&](int64_t m) { return gradient_after(p, gates, s, m); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) { undo_output<Cell>(p, s, m, j, sums[0]); });
    meet(arrived + seat.group * kCounterPitch, ++meeting, plan.slices);
  }
}

// Launches the kernel of tier grid.
template <class T, class Loop>
void launch_grid(const char* name, void (*kernel)(Loop, Plan, unsigned long long*), const Loop& loop, const Plan& plan,
                 int64_t depth, int gates, const Host& host) {
  const int64_t bytes = grid_shared_bytes<T>(depth, plan.units, gates);
  const size_t counters = static_cast<size_t>(plan.groups * kCounterPitch) * sizeof(*host.arrived);
  check(cudaMemsetAsync(host.arrived, 0, counters, host.stream), "clearing the counters of a barrier");
  const Shape shape{plan.slices * plan.groups, kGridThreads, static_cast<size_t>(bytes), true};
  launch(name, kernel, shape, host.stream, loop, plan, host.arrived);
}

template <class Cell, class T>
void forward_launch(const ForwardLoop<T>& loop, const Plan& plan, const Host& host) {
  launch_grid<T>("forward grid", &forward_grid_kernel<Cell, T>, loop, plan, loop.sizes.P, Cell::kGates, host);
}

template <class Cell, class T>
void backward_launch(const BackwardLoop<T>& loop, const Plan& plan, const Host& host) {
  const int64_t gates = Cell::kGates * loop.sizes.H;
  launch_grid<T>("backward grid", &backward_grid_kernel<Cell, T>, loop, plan, gates, 1, host);
}

}  // namespace

template <class T>
void forward_grid(int cell, const ForwardLoop<T>& loop, const Plan& plan, const Host& host) {
  using Run = void (*)(const ForwardLoop<T>&, const Plan&, const Host&);
#define FUSEDRNN_FUNCTION forward_launch
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loop, plan, host);
}

template <class T>
void backward_grid(int cell, const BackwardLoop<T>& loop, const Plan& plan, const Host& host) {
  using Run = void (*)(const BackwardLoop<T>&, const Plan&, const Host&);
#define FUSEDRNN_FUNCTION backward_launch
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loop, plan, host);
}

#define FUSEDRNN_INSTANTIATE(T)                                                        \
  template void forward_grid<T>(int, const ForwardLoop<T>&, const Plan&, const Host&); \
  template void backward_grid<T>(int, const BackwardLoop<T>&, const Plan&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
