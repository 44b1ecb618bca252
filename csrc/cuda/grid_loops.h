// The whole loop in one launch: tier grid. A block keeps its units' part of the recurrent weights in shared memory;
// the blocks of a group, which have rows of their own, meet after every step.
#pragma once

#include "cuda/backward_step.h"
#include "cuda/barrier.h"
#include "cuda/forward_step.h"
#include "cuda/resident.h"

namespace fusedrnn::cuda {

// The place of a block in the plan.
struct Seat {
  int64_t slice, group, begin, end;  // part of the units, group, and the rows of the group

  FUSEDRNN_INLINE Seat(const Plan& plan, int64_t block, int64_t rows)
      : slice(block % plan.slices), group(block / plan.slices), begin(group * plan.group_rows) {
    end = begin + plan.group_rows < rows ? begin + plan.group_rows : rows;
  }
};

template <class Cell, class T>
__global__ void __launch_bounds__(kGridThreads)
    forward_grid_kernel(const ForwardLoop<T> p, const Plan plan, unsigned long long* arrived) {
  const Seat seat(plan, blockIdx.x, p.sizes.B);
  const Factor<T> w_hh{p.w_hh, 1, p.sizes.P, p.sizes.H * p.sizes.P};
  const Resident<T> weights(w_hh, p.sizes.H, p.sizes.P, Cell::kGates, plan.units, seat.slice);
  const Sequence<const T> y{p.y.data, p.y.step_stride, p.y.row_stride};
  for (int64_t s = 0; s < p.sizes.T; ++s) {
    const int64_t live = p.rows.live(s);
    if (live <= seat.begin) return;  // rows are in order of length: none of the group lives any more
    weights.template multiply<Cell::kGates>(
        seat.begin, live < seat.end ? live : seat.end, [&](int64_t m) { return output_before(p, y, s, m); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) { forward_unit<Cell>(p, s, m, j, sums); });
    meet(arrived + seat.group, s + 1, plan.slices);
  }
}

template <class Cell, class T>
__global__ void __launch_bounds__(kGridThreads)
    backward_grid_kernel(const BackwardLoop<T> p, const Plan plan, unsigned long long* arrived) {
  const Seat seat(plan, blockIdx.x, p.sizes.B);
  const int64_t gates = Cell::kGates * p.sizes.H;
  const Resident<T> weights(Factor<T>{p.w_hh, p.sizes.P, 1, 0}, p.sizes.P, gates, 1, plan.units, seat.slice);
  for (int64_t s = p.sizes.T - 1, meeting = 0; s >= -1; --s) {
    const int64_t live = p.rows.live(s < 0 ? 0 : s);
    if (live <= seat.begin) continue;
    weights.template multiply<1>(
        seat.begin, live < seat.end ? live : seat.end, [&](int64_t m) { return gradient_after(p, gates, s, m); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) { undo_output<Cell>(p, s, m, j, sums[0]); });
    meet(arrived + seat.group, ++meeting, plan.slices);
  }
}

}  // namespace fusedrnn::cuda
