// When a row lives and where it is: the clock of cpu/share.h as kernels see it, for every row of a batch at once.
//
// Step s is counted from where a row starts; m is a position in the order of falling lengths, so that the rows that
// live at a step are a prefix. What the products make and take (input products, gate gradients) has a place for every
// live step of every row: without lengths they lie as x does; with lengths they are packed, step after step.
#pragma once

#include "contract/problem.h"

namespace fusedrnn::cuda {

struct Rows {
  int64_t steps, rows;                      // T, B
  bool reverse = false;                     // start at each row's last step
  const int64_t* row = nullptr;             // (B): the batch row at position m; nullptr: m itself
  const int64_t* length = nullptr;          // (B), falling; nullptr: all T
  const int64_t* first = nullptr;           // (T + 1): place of position 0 at step s; nullptr: not packed
  Sequence<const uint8_t> reset;            // (T, B)
  int64_t step_places = 0, row_places = 0;  // where not packed: the place of t, b is t * step_places + b * row_places

  FUSEDRNN_INLINE int64_t batch(int64_t m) const { return row == nullptr ? m : row[m]; }
  FUSEDRNN_INLINE int64_t length_of(int64_t m) const { return length == nullptr ? steps : length[m]; }
  FUSEDRNN_INLINE int64_t live(int64_t s) const { return first == nullptr ? rows : first[s + 1] - first[s]; }
  FUSEDRNN_INLINE int64_t time(int64_t s, int64_t m) const { return reverse ? length_of(m) - 1 - s : s; }
  FUSEDRNN_INLINE int64_t place(int64_t s, int64_t m) const {
    return first == nullptr ? time(s, m) * step_places + batch(m) * row_places : first[s] + m;
  }

  // Whether the state that enters step s of position m is cut off by a reset.
  FUSEDRNN_INLINE bool cut(int64_t s, int64_t m) const {
    if (!reset) return false;
    const int64_t t = time(s, m);
    if (reverse) return s > 0 && *reset.at(t + 1, batch(m)) != 0;
    return *reset.at(t, batch(m)) != 0;
  }
};

}  // namespace fusedrnn::cuda
