// The cells of the rows of one step, right behind the recurrent product of a tile.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

// Where the cells of one row of one step read and write.
template <class Cell, class T>
struct CellRow {
  const T* gx;                     // [group][gate][lane]
  const T* h;                      // (H): h before the step, zeros after a reset; read where the cell reads it
  const T* before[Cell::kStates];  // states 1.. before the step; [0] is not used
  T* after[Cell::kStates];         // states 1.. after it; [0] is not used
  T* gates;                        // (K, H), nullptr in inference
  T* states;                       // (S - 1, H), likewise
  T* final[Cell::kStates];         // state_out of the row, nullptr unless this is its last step
};

// The cell for one group of units of N rows; P holds N vectors.
template <class Cell, class P, int N, class Row, class T, class Output>
FUSEDRNN_INLINE void run_cell(const Row* rows, const Results<T>& results, int r, int u, const T* b_hh, int64_t hidden,
                              Output&& output) {
  using V = Vec<T>;
  constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  const int64_t g = results.group + u, j = g * W, columns = hidden - j;
  P gx[G], gh[G], before[S], after[S], saved[K > 0 ? K : 1];
  for (int n = 0; n < N; ++n) {
    const Row& row = rows[n];
    const T* sums = results.at(r + n, u);
    for (int q = 0; q < G; ++q) {
      const int64_t at = (g * G + q) * W;
      part(gx[q], n) = V::load(row.gx + at);
      part(gh[q], n) = V::load(sums + q * W) + V::load(b_hh + at);
    }
    part(before[0], n) = Cell::kReadsOutput ? load_columns(row.h + j, columns) : V(0);
    for (int k = 1; k < S; ++k) part(before[k], n) = V::load(row.before[k] + j);
  }

  Cell::forward(gx, gh, before, after, saved);

  for (int n = 0; n < N; ++n) {
    const Row& row = rows[n];
    for (int k = 1; k < S; ++k) {
      const V value = part(after[k], n);
      value.store(row.after[k] + j);
      if (row.states) store_columns(row.states + (k - 1) * hidden + j, columns, value);
      if (row.final[k]) store_columns(row.final[k] + j, columns, value);
    }
    if (row.gates)
      for (int k = 0; k < K; ++k) store_columns(row.gates + k * hidden + j, columns, part(saved[k], n));
    output(row, g, part(after[0], n));
  }
}

// The cells of all rows and groups of `results`, the sums W_hh h: two rows side by side as far as they go.
// rows[results.row] is a CellRow or more; output(row, group, h) takes what its cells put out.
template <class Cell, class Row, class T, class Output>
FUSEDRNN_INLINE void run_cells(const Row* rows, const Results<T>& results, const T* b_hh, int64_t hidden,
                               Output&& output) {
  for (int u = 0; u < results.groups; ++u) {
    int r = 0;
    if constexpr (Vec<T>::kWidth > 1)
      for (; r + 2 <= results.rows; r += 2)
        run_cell<Cell, Two<T>, 2>(rows + results.row + r, results, r, u, b_hh, hidden, output);
    for (; r < results.rows; ++r)
      run_cell<Cell, Vec<T>, 1>(rows + results.row + r, results, r, u, b_hh, hidden, output);
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
