// The gradient of a table of which rows were looked up: out[v] = sum of the rows x[n] with ids[n] = v, added in rising
// order of n from zero. A thread owns columns of the table, since ids are spread unevenly, and where there are more
// threads than cache lines of columns, rows of it as well.
#pragma once

#include <cstring>

#include "cpu/share.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
void scatter_add(const cpu::ScatterTask<T>& task, Team& team, int thread) {
  constexpr int64_t W = Vec<T>::kWidth, kLine = 64 / static_cast<int64_t>(sizeof(T));
  // The table is fresh memory as a rule: whole pages for each thread, since whoever writes one first has to clear it.
  const Range zeros = part_of(task.table_rows * task.columns, thread, team.size());
  std::memset(task.out + zeros.begin, 0, static_cast<size_t>(zeros.end - zeros.begin) * sizeof(T));
  team.barrier();
  const int64_t lines = (task.columns + kLine - 1) / kLine;
  const int column_parts = static_cast<int>(smaller(larger(lines, 1), team.size()));
  const int row_parts = team.size() / column_parts;
  if (thread >= column_parts * row_parts) return;
  const Range part = part_of(lines, thread % column_parts, column_parts);
  const int64_t begin = part.begin * kLine, end = smaller(part.end * kLine, task.columns);
  const Range own = part_of(task.table_rows, thread / column_parts, row_parts);
  for (int64_t n = 0; n < task.rows; ++n) {
    const int64_t v = task.ids[n];
    if (v < own.begin || v >= own.end) continue;
    T* out = task.out + v * task.columns;
    const T* x = task.x + n * task.columns;
    for (int64_t j = begin; j < end; j += W)
      store_columns(out + j, end - j, load_columns(out + j, end - j) + load_columns(x + j, end - j));
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
