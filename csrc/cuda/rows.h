// When a row lives and where it is: the clock of cpu/share.h as kernels see it, for every row of a batch at once.
//
// Step s is counted from where a row starts; m is a position in the order of falling lengths, so that the rows that
// live at a step are a prefix. What the products make and take (input products, gate gradients), and what forward
// keeps, has a place for every live step of every row: without lengths places are in the order of x; with lengths they
// are packed, step after step.
#pragma once

#include "contract/problem.h"

namespace fusedrnn::cuda {

struct Rows {
  int64_t steps, rows;              // T, B
  bool reverse = false;             // start at each row's last step
  const int64_t* row = nullptr;     // (B): the batch row at position m; nullptr: m itself
  const int64_t* length = nullptr;  // (B), falling; nullptr: all T
  const int64_t* first = nullptr;   // (T + 1): place of position 0 at step s; nullptr: not packed
  bool batch_major = false;         // where not packed, places are in the order (B, T), else (T, B)
  Sequence<const uint8_t> reset;    // (T, B)

  FUSEDRNN_INLINE int64_t batch(int64_t m) const { return row == nullptr ? m : row[m]; }
  FUSEDRNN_INLINE int64_t length_of(int64_t m) const { return length == nullptr ? steps : length[m]; }
  FUSEDRNN_INLINE int64_t live(int64_t s) const { return first == nullptr ? rows : first[s + 1] - first[s]; }
  FUSEDRNN_INLINE int64_t time(int64_t s, int64_t m) const { return reverse ? length_of(m) - 1 - s : s; }
  FUSEDRNN_INLINE int64_t place(int64_t s, int64_t m) const {
    if (first != nullptr) return first[s] + m;
    return batch_major ? batch(m) * steps + time(s, m) : time(s, m) * rows + batch(m);
  }

  // Whether the state that enters step s of position m is cut off by a reset.
  FUSEDRNN_INLINE bool cut(int64_t s, int64_t m) const {
    if (!reset) return false;
    const int64_t t = time(s, m);
    if (reverse) return s > 0 && *reset.at(t + 1, batch(m)) != 0;
    return *reset.at(t, batch(m)) != 0;
  }
};

// What a call computes of a loop, the steps [begin, end), and where its arrays begin. States enter where the loop does,
// and wait in `running` between calls.
struct Part {
  int64_t begin, end;
  bool enters;          // the loop begins here: forward at its first step, backward at its last one
  int64_t place;        // the first place of these steps, where arrays of the products begin
  int64_t saved_begin;  // the step where what forward keeps begins, and
  int64_t saved_place;  // its place
};

}  // namespace fusedrnn::cuda
