// A list of vectors times a factor, in place.
#pragma once

#include "cpu/pieces.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
FUSEDRNN_INLINE void scale_piece(T* x, T factor, Range part) {
  const Vec<T> by(factor);
  for (int64_t j = part.begin; j < part.end; j += Vec<T>::kWidth) {
    prefetch(x + j);
    store_columns(x + j, part.end - j, load_columns(x + j, part.end - j) * by);
  }
}

template <class T>
void scale(const cpu::ScaleTask<T>& task, Team& team, int thread) {
  for_each_piece(task.starts, task.count, elements_of(task.starts[task.count], team, thread),
                 [&](int64_t k, Range part) { scale_piece(task.vectors[k], task.factor, part); });
}

}  // namespace fusedrnn::FUSEDRNN_ISA
