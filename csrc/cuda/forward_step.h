// One step of the forward loop, for the rows that live at it: the recurrent product, tile by tile, and the cell in the
// thread that takes a unit's sums.
//
//   gh = W_hh h + b_hh        h', c', .. = cell(gx + b_ih, gh, h, c, ..)        y_t = h' or W_hr h'
#pragma once

#include "cells/registry.h"
#include "cuda/ask.h"
#include "cuda/problem.h"
#include "cuda/tile.h"
#include "cuda/value.h"

namespace fusedrnn::cuda {

// What a block of tier step has to do: a tile of one direction. Tiles lie direction by direction.
struct StepTile {
  int64_t direction, tile;

  __device__ explicit StepTile(int directions) {
    const int64_t tiles = gridDim.x / directions;
    direction = blockIdx.x / tiles, tile = blockIdx.x % tiles;
  }
};

// h before step s of position m, (P) values; nullptr: zeros.
template <class Loop, class E>
FUSEDRNN_INLINE const E* output_before(const Loop& p, const Sequence<E>& y, int64_t s, int64_t m) {
  if (p.rows.cut(s, m)) return nullptr;
  const int64_t b = p.rows.batch(m);
  if (s > 0) return y.at(p.rows.time(s - 1, m), b);
  return p.state_in[0] == nullptr ? nullptr : p.state_in[0] + b * p.sizes.P;
}

// y_t of position m in step s, entry j.
template <class T>
FUSEDRNN_INLINE void put_output(const ForwardLoop<T>& p, int64_t s, int64_t m, int64_t j, T value) {
  const int64_t b = p.rows.batch(m);
  p.y.at(p.rows.time(s, m), b)[j] = value;
  if (s + 1 == p.rows.length_of(m)) p.state_out[0][b * p.sizes.P + j] = value;
}

// Asks for what forward_unit will read, while its sums are still made.
template <class Cell, class T>
__device__ void ask_for_unit(const ForwardLoop<T>& p, int64_t s, int64_t m, int64_t j) {
  const int64_t H = p.sizes.H;
  const T* gx = p.gx + (p.rows.place(s, m) - p.part.place) * Cell::kGates * H + j;
  for (int q = 0; q < Cell::kGates; ++q) ask_for(gx + q * H);
  for (int k = 1; k < Cell::kStates; ++k) ask_for(p.running[k] + p.rows.batch(m) * H + j);
}

// The cell of unit j in step s of position m, with the G recurrent sums. Returns its output.
template <class Cell, class T>
FUSEDRNN_INLINE T forward_unit(const ForwardLoop<T>& p, int64_t s, int64_t m, int64_t j, const Wide<T>* sums) {
  using V = Value<Wide<T>>;
  constexpr int G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  const int64_t H = p.sizes.H, b = p.rows.batch(m), place = p.rows.place(s, m), kept = place - p.part.saved_place;
  const T* gx_row = p.gx + (place - p.part.place) * G * H;
  V gx[G], gh[G], before[S], after[S], saved[K > 0 ? K : 1];
  for (int q = 0; q < G; ++q) {
    const int64_t at = q * H + j;
    gx[q] = V(p.b_ih == nullptr ? wide(gx_row[at]) : wide(gx_row[at]) + wide(p.b_ih[at]));
    gh[q] = V(p.b_hh == nullptr ? sums[q] : sums[q] + wide(p.b_hh[at]));
  }
  const T* h = Cell::kReadsOutput ? output_before(p, Sequence<const T>{p.y.data, p.y.step_stride, p.y.row_stride}, s, m)
                                  : nullptr;
  before[0] = h == nullptr ? V(0) : V(wide(h[j]));
  const bool cut = S > 1 && p.rows.cut(s, m);
  for (int k = 1; k < S; ++k) before[k] = cut ? V(0) : V(p.running[k][b * H + j]);

  Cell::forward(gx, gh, before, after, saved);

  const bool last = s + 1 == p.rows.length_of(m);
  for (int k = 1; k < S; ++k) {
    p.running[k][b * H + j] = after[k].number;
    if (last) p.state_out[k][b * H + j] = narrow<T>(after[k].number);
    if (p.saved.states != nullptr) p.saved.states[(kept * (S - 1) + k - 1) * H + j] = narrow<T>(after[k].number);
  }
  if (p.saved.gates != nullptr)
    for (int k = 0; k < K; ++k) p.saved.gates[(kept * K + k) * H + j] = narrow<T>(saved[k].number);
  const T output = narrow<T>(after[0].number);
  if (p.w_hr != nullptr)
    (p.saved.raw != nullptr ? p.saved.raw + kept * H : p.raw + b * H)[j] = output;
  else
    put_output(p, s, m, j, output);
  return output;
}

// Tiles: how the product is made, `Tile` or `TensorTiles`.
template <class Cell, class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    forward_step_kernel(const __grid_constant__ Directions<ForwardLoop<T>> loops, const int64_t s) {
  const StepTile at(loops.count);
  const ForwardLoop<T>& p = loops.of[at.direction];
  const Factor<T> w_hh{p.w_hh, 1, p.sizes.P, p.sizes.H * p.sizes.P};
  const Sequence<const T> y{p.y.data, p.y.step_stride, p.y.row_stride};
  Tiles::multiply(
      at.tile, p.rows.live(s), p.sizes.H, p.sizes.P, w_hh, [&](int64_t m) { return output_before(p, y, s, m); },
      [&](int64_t m, int64_t j, const Wide<T>* sums) { forward_unit<Cell>(p, s, m, j, sums); });
}

// y_t = W_hr h'
template <class T, class Tiles>
__global__ void __launch_bounds__(Tiles::kThreads)
    project_step_kernel(const __grid_constant__ Directions<ForwardLoop<T>> loops, const int64_t s) {
  const StepTile at(loops.count);
  const ForwardLoop<T>& p = loops.of[at.direction];
  const int64_t H = p.sizes.H, P = p.sizes.P;
  Tiles::multiply(
      at.tile, p.rows.live(s), P, H, Factor<T>{p.w_hr, 1, H, 0},
      [&](int64_t m) -> const T* {
        if (p.saved.raw == nullptr) return p.raw + p.rows.batch(m) * H;
        return p.saved.raw + (p.rows.place(s, m) - p.part.saved_place) * H;
      },
      [&](int64_t m, int64_t j, const Wide<T>* sums) { put_output(p, s, m, j, narrow<T>(sums[0])); });
}

}  // namespace fusedrnn::cuda
