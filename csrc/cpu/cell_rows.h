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

enum class Beside { kRows, kGroups };

// The cells of one group of units of N rows from `first` on, or of N groups of that row; P holds N vectors.
template <class Cell, class P, int N, Beside beside, class Row, class T, class Output>
FUSEDRNN_INLINE void run_cell(const Row* first, const Results<T>& results, int r, int u, const T* b_hh, int64_t hidden,
                              Output&& output) {
  using V = Vec<T>;
  constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  constexpr int kRowStep = beside == Beside::kRows ? 1 : 0, kGroupStep = 1 - kRowStep;
  const int64_t first_group = results.group + u;
  P gx[G], gh[G], before[S], after[S], saved[K > 0 ? K : 1];
  for (int n = 0; n < N; ++n) {
    const Row& row = first[n * kRowStep];
    const T* sums = results.at(r + n * kRowStep, u + n * kGroupStep);
    const int64_t g = first_group + n * kGroupStep, j = g * W, columns = hidden - j;
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
    const Row& row = first[n * kRowStep];
    const int64_t g = first_group + n * kGroupStep, j = g * W, columns = hidden - j;
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

// The cells of all rows and groups of `results`, the sums W_hh h: two rows side by side as far as they go, then two
// groups of the row that is left.
// rows[results.row] is a CellRow or more; output(row, group, h) takes what its cells put out.
template <class Cell, class Row, class T, class Output>
FUSEDRNN_INLINE void run_cells(const Row* rows, const Results<T>& results, const T* b_hh, int64_t hidden,
                               Output&& output) {
  constexpr bool kPairs = Vec<T>::kWidth > 1;
  const int paired = kPairs ? results.rows / 2 * 2 : 0;
  for (int u = 0; u < results.groups; ++u)
    for (int r = 0; r < paired; r += 2)
      run_cell<Cell, Two<T>, 2, Beside::kRows>(rows + results.row + r, results, r, u, b_hh, hidden, output);
  for (int r = paired; r < results.rows; ++r) {
    const Row* row = rows + results.row + r;
    int u = 0;
    for (; kPairs && u + 2 <= results.groups; u += 2)
      run_cell<Cell, Two<T>, 2, Beside::kGroups>(row, results, r, u, b_hh, hidden, output);
    for (; u < results.groups; ++u)
      run_cell<Cell, Vec<T>, 1, Beside::kGroups>(row, results, r, u, b_hh, hidden, output);
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
