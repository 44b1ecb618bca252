// Dropout: out = keep ? x * scale : 0, with the mask of contract/philox.h; rows are shared out among the threads.
#pragma once

#include "contract/philox.h"
#include "cpu/share.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

constexpr int kDropLanes = 16;                // blocks of four columns, drawn together
constexpr int kDropColumns = 4 * kDropLanes;  // as many columns

// Loops that compilers turn into vector instructions: the words of neighbouring columns side by side, then a choice.
template <class T>
FUSEDRNN_INLINE void drop_columns(const uint32_t (&words)[4][kDropLanes], const T* x, T scale, uint32_t threshold,
                                  int64_t columns, T* out) {
  uint32_t word[kDropColumns];
  for (int l = 0; l < kDropLanes; ++l)
    for (int w = 0; w < 4; ++w) word[4 * l + w] = words[w][l];
  for (int64_t c = 0; c < columns; ++c) {
    const T kept = x[c] * scale;
    out[c] = word[c] >= threshold ? kept : T(0);  // a dropped infinity becomes 0, not NaN
  }
}

template <class T>
void drop(const cpu::DropoutTask<T>& task, Team& team, int thread) {
  const Range rows = part_of(task.T_ * task.B, thread, team.size());
  if (task.threshold > UINT32_MAX) {  // none is kept
    for (int64_t j = rows.begin * task.C; j < rows.end * task.C; ++j) task.out[j] = T(0);
    return;
  }
  for (int64_t r = rows.begin; r < rows.end && team.going(); ++r) {
    const auto t = static_cast<uint32_t>(r / task.B);
    const auto row = static_cast<uint32_t>(task.mask.row_offset + static_cast<uint64_t>(r % task.B));
    const T* x = task.x + r * task.C;
    T* out = task.out + r * task.C;
    for (int64_t j = 0; j < task.C; j += kDropColumns) {
      const int64_t columns = smaller(task.C - j, kDropColumns);
      uint32_t words[4][kDropLanes];
      mask_words(task.mask, static_cast<uint32_t>(j / 4), t, row, words);
      drop_columns(words, x + j, task.scale, static_cast<uint32_t>(task.threshold), columns, out + j);
    }
    team.worked(thread, static_cast<double>(task.C * 4));
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
