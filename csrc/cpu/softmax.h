// The softmax in the loss, with maximum and sum of each row: exponentials exp(x - max), or at once the gradient. Rows
// are shared out among the threads; a row is read again from a core's own cache. A NaN in a row makes its sum NaN.
#pragma once

#include "cpu/share.h"
#include "cpu/task.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
FUSEDRNN_INLINE T row_maximum(const T* x, int64_t columns) {
  using V = Vec<T>;
  T lanes[V::kWidth];
  V most(x[0]);
  int64_t j = 0;
  for (; j + V::kWidth <= columns; j += V::kWidth) most = at_least(V::load(x + j), most);
  most.store(lanes);
  T maximum = lanes[0];
  for (int64_t lane = 1; lane < V::kWidth; ++lane) maximum = lanes[lane] > maximum ? lanes[lane] : maximum;
  for (; j < columns; ++j) maximum = x[j] > maximum ? x[j] : maximum;
  return maximum;
}

// exp, and exactly 0 where it would be no normal number.
template <class T>
FUSEDRNN_INLINE Vec<T> exp_or_zero(Vec<T> x) {
  return where_less(x, Vec<T>(MathConstants<T>::kExpLow), Vec<T>(0), exp(x));
}

template <class T>
FUSEDRNN_INLINE T row_exponentials(const T* x, T maximum, int64_t columns, T* out) {
  using V = Vec<T>;
  constexpr int64_t W = V::kWidth;
  const V shift(maximum);
  V sum(0);
  int64_t j = 0;
  for (; j + W <= columns; j += W) {
    const V e = exp_or_zero(V::load(x + j) - shift);
    e.store(out + j);
    sum = sum + e;
  }
  T total = sum_of_lanes(sum);
  if (j < columns) {
    T lanes[W];
    exp_or_zero(load_columns(x + j, columns - j) - shift).store(lanes);
    for (int64_t lane = 0; j < columns; ++lane, ++j) total += out[j] = lanes[lane];
  }
  return total;
}

template <class T>
void exponentials(const cpu::SoftmaxTask<T>& task, Team& team, int thread) {
  const Range rows = part_of(task.rows, thread, team.size());
  for (int64_t r = rows.begin; r < rows.end && team.going(); ++r) {
    const T* x = task.x + r * task.columns;
    task.maxima[r] = row_maximum(x, task.columns);
    task.sums[r] = row_exponentials(x, task.maxima[r], task.columns, task.out + r * task.columns);
    team.worked(thread, static_cast<double>(task.columns));
  }
}

template <class T>
FUSEDRNN_INLINE void scale_row(const T* x, T factor, int64_t columns, T* out) {
  for (int64_t j = 0; j < columns; j += Vec<T>::kWidth)
    store_columns(out + j, columns - j, load_columns(x + j, columns - j) * Vec<T>(factor));
}

// out = factor of the row times x
template <class T>
void scale_rows(const cpu::SoftmaxTask<T>& task, Team& team, int thread) {
  const Range rows = part_of(task.rows, thread, team.size());
  for (int64_t r = rows.begin; r < rows.end && team.going(); ++r) {
    scale_row(task.x + r * task.columns, task.factors[r], task.columns, task.out + r * task.columns);
    team.worked(thread, static_cast<double>(task.columns));
  }
}

// From logits x to their gradient, in place: out = factor of the row times (softmax(x) - [column is the target]). A row
// of factor 0 is ignored, whatever it holds.
template <class T>
void cross_entropy(const cpu::SoftmaxTask<T>& task, Team& team, int thread) {
  const Range rows = part_of(task.rows, thread, team.size());
  for (int64_t r = rows.begin; r < rows.end && team.going(); ++r) {
    T* row = task.out + r * task.columns;
    task.chosen[r] = row[task.targets[r]];
    task.maxima[r] = row_maximum(row, task.columns);
    task.sums[r] = row_exponentials(row, task.maxima[r], task.columns, row);
    team.worked(thread, static_cast<double>(2 * task.columns));
    if (task.factors == nullptr) continue;
    if (task.factors[r] == T(0)) {
      for (int64_t j = 0; j < task.columns; ++j) row[j] = T(0);
      continue;
    }
    scale_row(row, task.factors[r] / task.sums[r], task.columns, row);
    row[task.targets[r]] -= task.factors[r];
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
