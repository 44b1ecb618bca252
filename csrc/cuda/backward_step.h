// One step of the backward loop, for the rows that live at it. Undoing step s of a row begins with the product that
// gives it dh, from the gate gradients of step s + 1:
//
//   dh = W_hh^T dgh(s + 1) + the cell's direct path        dgx(s), dgh(s), dc, .. = cell backward(dy_t + dh, dc, ..)
//
// so that one kernel makes a step. With a projection y = W_hr h', there are two: dy_t + dh, and W_hr^T of it to the
// cell. A last product, of the step before the first one of a call, leaves the gradient of the state that enters there:
// of the initial state, or for the call that goes on with the steps before. What runs from step to step, the direct
// path and the gradients of states 1.., starts as dstate_out.
#pragma once

#include "cuda/forward_step.h"

namespace fusedrnn::cuda {

// W_hh^T as the product with gate gradients reads it.
template <class T>
FUSEDRNN_INLINE Factor<T> w_hh_turned(const BackwardLoop<T>& p, int64_t gates) {
  if (p.w_hh_turned != nullptr) return {p.w_hh_turned, 1, gates, 0};
  return {p.w_hh, p.sizes.P, 1, 0};
}

// The row of gate gradients that dh of step s is made from; nullptr where nothing comes from a later step.
template <class T>
FUSEDRNN_INLINE const T* gradient_after(const BackwardLoop<T>& p, int64_t gates, int64_t s, int64_t m) {
  const bool comes = s + 1 < p.rows.length_of(m) && s + 1 < p.part.end && !p.rows.cut(s + 1, m);
  return comes ? p.dgh + (p.rows.place(s + 1, m) - p.part.place) * gates : nullptr;
}

// dh after step s of position m, entry j of P, with the sum of the product.
template <class Cell, class T>
FUSEDRNN_INLINE Wide<T> output_gradient(const BackwardLoop<T>& p, int64_t s, int64_t m, int64_t j, Wide<T> sum) {
  const Wide<T> running = p.running[0][p.rows.batch(m) * p.sizes.P + j];
  if (s + 1 == p.rows.length_of(m)) return running;  // dstate_out
  if (s + 1 == p.part.end) return running;           // all of it, from the call before
  if (p.rows.cut(s + 1, m)) return Wide<T>(0);
  return Cell::kReadsOutput ? running + sum : sum;
}

// Asks for what undo_output will read, while its sum is still made.
template <class Cell, class T>
__device__ void ask_for_output(const BackwardLoop<T>& p, int64_t s, int64_t m, int64_t j) {
  if (s < p.part.begin) return;
  constexpr int S = Cell::kStates, K = Cell::kSaved;
  const int64_t H = p.sizes.H, b = p.rows.batch(m), kept = p.rows.place(s, m) - p.part.saved_place;
  for (int k = 0; k < K; ++k) ask_for(p.saved.gates + (kept * K + k) * H + j);
  for (int k = 1; k < S; ++k) {
    ask_for(p.saved.states + (kept * (S - 1) + k - 1) * H + j);
    ask_for(p.running[k] + b * H + j);
  }
  if (p.dy) ask_for(p.dy.at(p.rows.time(s, m), b) + j);
}

// Where nobody waits for the gate gradients of a step.
struct HandNothingOn {
  template <class T>
  FUSEDRNN_INLINE void operator()(int64_t, int64_t, T) const {}
};

// The cell of unit j backwards. dh: gradient of its output; hand_on(m, k, ..) takes what row m has at k in the product
// of the step before.
template <class Cell, class T, class HandOn = HandNothingOn>
FUSEDRNN_INLINE void undo_unit(const BackwardLoop<T>& p, int64_t s, int64_t m, int64_t j, Wide<T> dh,
                               const HandOn& hand_on = {}) {
  using V = Value<Wide<T>>;
  constexpr int G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  const int64_t H = p.sizes.H, b = p.rows.batch(m), place = p.rows.place(s, m), kept = place - p.part.saved_place;
  const bool cut = p.rows.cut(s, m);
  V saved[K > 0 ? K : 1], before[S], after[S], dafter[S], dgx[G], dgh[G], dbefore[S];
  for (int k = 0; k < K; ++k) saved[k] = V(wide(p.saved.gates[(kept * K + k) * H + j]));
  const T* h = Cell::kReadsOutput ? output_before(p, p.y, s, m) : nullptr;
  before[0] = h == nullptr ? V(0) : V(wide(h[j]));
  after[0] = Cell::kReadsOutput ? V(wide(p.y.at(p.rows.time(s, m), b)[j])) : V(0);
  dafter[0] = V(dh);
  for (int k = 1; k < S; ++k) {
    const int64_t state = (k - 1) * H + j;
    after[k] = V(wide(p.saved.states[kept * (S - 1) * H + state]));
    if (cut)
      before[k] = V(0);
    else if (s > p.part.saved_begin)
      before[k] = V(wide(p.saved.states[(p.rows.place(s - 1, m) - p.part.saved_place) * (S - 1) * H + state]));
    else
      before[k] = p.state_in[k] == nullptr ? V(0) : V(wide(p.state_in[k][b * H + j]));
    dafter[k] = V(p.running[k][b * H + j]);
  }

  Cell::backward(saved, before, after, dafter, dgx, dgh, dbefore);

  const int64_t gradients = (place - p.part.place) * G * H;
  for (int q = 0; q < G; ++q) {
    const T recurrent = narrow<T>(Cell::kOneGateGradient ? dgx[q].number : dgh[q].number);
    p.dgx[gradients + q * H + j] = narrow<T>(dgx[q].number);
    if (!Cell::kOneGateGradient) p.dgh[gradients + q * H + j] = recurrent;
    hand_on(m, q * H + j, cut ? narrow<T>(Wide<T>(0)) : recurrent);
  }
  if (Cell::kReadsOutput) p.running[0][b * H + j] = dbefore[0].number;
  for (int k = 1; k < S; ++k) {
    const V value = cut ? V(0) : dbefore[k];
    p.running[k][b * H + j] = value.number;
    if (s == 0) p.dstate_in[k][b * H + j] = narrow<T>(value.number);
  }
}

// Step s for entry j of the output: its gradient, and what stood there before the step, for dW_hh.
template <class Cell, class T, class HandOn = HandNothingOn>
FUSEDRNN_INLINE void undo_output(const BackwardLoop<T>& p, int64_t s, int64_t m, int64_t j, Wide<T> sum,
                                 const HandOn& hand_on = {}) {
  const int64_t P = p.sizes.P, b = p.rows.batch(m);
  Wide<T> dh = output_gradient<Cell>(p, s, m, j, sum);
  if (s < p.part.begin) {
    if (s < 0)
      p.dstate_in[0][b * P + j] = narrow<T>(dh);
    else
      p.running[0][b * P + j] = dh;
    return;
  }
  if (p.dy) dh += wide(p.dy.at(p.rows.time(s, m), b)[j]);
  const int64_t place = p.rows.place(s, m) - p.part.place;
  const T* h = output_before(p, p.y, s, m);
  p.before[place * P + j] = h == nullptr ? narrow<T>(Wide<T>(0)) : h[j];
  if (p.w_hr != nullptr)
    p.doutput[place * P + j] = narrow<T>(dh);
  else
    undo_unit<Cell>(p, s, m, j, dh, hand_on);
}

template <class Cell, class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    backward_step_kernel(const __grid_constant__ Directions<BackwardLoop<T>> loops, const int64_t s) {
  const StepTile at(loops.count);
  const BackwardLoop<T>& p = loops.of[at.direction];
  const int64_t gates = Cell::kGates * p.sizes.H, P = p.sizes.P;
  Tiles::multiply(
      at.tile, p.rows.live(s < 0 ? 0 : s), P, gates, w_hh_turned(p, gates),
      [&](int64_t m) { return gradient_after(p, gates, s, m); },
      [&](int64_t m, int64_t j, const Wide<T>* sums) { undo_output<Cell>(p, s, m, j, sums[0]); });
}

// The gradient of the cell's output, W_hr^T (dy_t + dh), and the cell.
template <class Cell, class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    unproject_step_kernel(const __grid_constant__ Directions<BackwardLoop<T>> loops, const int64_t s) {
  const StepTile at(loops.count);
  const BackwardLoop<T>& p = loops.of[at.direction];
  const int64_t H = p.sizes.H, P = p.sizes.P;
  Tiles::multiply(
      at.tile, p.rows.live(s), H, P, Factor<T>{p.w_hr, H, 1, 0},
      [&](int64_t m) -> const T* { return p.doutput + (p.rows.place(s, m) - p.part.place) * P; },
      [&](int64_t m, int64_t j, const Wide<T>* sums) { undo_unit<Cell>(p, s, m, j, sums[0]); });
}

}  // namespace fusedrnn::cuda
