// Sums of squares of a list of vectors in float64, one for each block of kSquaresBlock elements. Within a block element
// j belongs to lane j % 32, whatever the width of a vector; lanes are added in rising order.
#pragma once

#include "cpu/pieces.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
FUSEDRNN_INLINE double sum_of_block(const T* x, int64_t count) {
  constexpr int64_t kLanes = 32, W = Vec<double>::kWidth;
  Vec<double> sums[kLanes / W];
  for (auto& sum : sums) sum = Vec<double>(0);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int64_t line = 0; line < kLanes; line += 64 / static_cast<int64_t>(sizeof(T))) prefetch(x + j + line);
    for (int64_t i = 0; i < kLanes / W; ++i) {
      const Vec<double> value = load_wide(x + j + i * W);
      sums[i] = sums[i] + value * value;
    }
  }
  double lanes[kLanes];
  for (int64_t i = 0; i < kLanes / W; ++i) sums[i].store(lanes + i * W);
  for (int64_t lane = 0; j < count; ++lane, ++j) lanes[lane] += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

template <class T>
void sum_squares(const cpu::SquaresTask<T>& task, Team& team, int thread) {
  constexpr int64_t kBlock = cpu::kSquaresBlock;
  const Range blocks = part_of(task.starts[task.count], thread, team.size());
  for_each_piece(task.starts, task.count, blocks, [&](int64_t k, Range part) {
    for (int64_t block = part.begin; block < part.end; ++block) {
      const int64_t from = block * kBlock;
      task.sums[task.starts[k] + block] = sum_of_block(task.vectors[k] + from, smaller(task.sizes[k] - from, kBlock));
    }
  });
}

}  // namespace fusedrnn::FUSEDRNN_ISA
