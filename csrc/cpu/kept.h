// The saved values of some steps, row by row: forward writes those of all steps, recomputation those of one segment,
// and backward reads them.
#pragma once

#include <type_traits>

#include "contract/problem.h"
#include "cpu/share.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class E>
struct KeptSteps {
  static constexpr int S = Cell::kStates, K = Cell::kSaved;
  using Value = std::remove_const_t<E>;

  Saved<E> saved;  // the first axis begins at step `first`
  int64_t first;
  const Value* entering[S];  // states 1.. before step `first`, (B, H) each, nullptr: zeros; [0] is not used
  int64_t rows, hidden;      // B, H

  // (K, H), (S - 1, H) and (H), the last one with a projection alone.
  FUSEDRNN_INLINE E* gates(int64_t s, int64_t b) const { return saved.gates + place(s, b) * K * hidden; }
  FUSEDRNN_INLINE E* states(int64_t s, int64_t b) const { return saved.states + place(s, b) * (S - 1) * hidden; }
  FUSEDRNN_INLINE E* raw(int64_t s, int64_t b) const { return saved.raw + place(s, b) * hidden; }

  // State k >= 1 before step s, (H): nullptr for zeros.
  FUSEDRNN_INLINE const Value* before(int k, int64_t s, int64_t b) const {
    if (s > first) return states(s - 1, b) + (k - 1) * hidden;
    return entering[k] ? entering[k] + b * hidden : nullptr;
  }

 private:
  FUSEDRNN_INLINE int64_t place(int64_t s, int64_t b) const { return (s - first) * rows + b; }
};

}  // namespace fusedrnn::FUSEDRNN_ISA
