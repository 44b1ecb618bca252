// Multiply-adds that wait for nothing: how many a core does, when neither memory nor the order of sums holds it up.
//
// Every chain is a register that is multiplied and added to again and again; there are as many chains as the tile of
// tile.h has accumulators, more than the processor needs to keep its units busy.
#pragma once

#include "cpu/pool.h"
#include "cpu/simd.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
FUSEDRNN_NOINLINE int64_t multiply_add(const cpu::PeakTask<T>& task) {
  using V = Vec<T>;
  V chains[kAccumulators];
  // Chains that begin alike would be one to the compiler.
#pragma GCC unroll 32
  for (int j = 0; j < kAccumulators; ++j) chains[j] = V(j + 1);
  const V factor(task.factor), term(task.term);
  for (int64_t round = 0; round < task.rounds; ++round) {
#pragma GCC unroll 32
    for (int j = 0; j < kAccumulators; ++j) chains[j] = fma(chains[j], factor, term);
  }
  V sum = chains[0];
#pragma GCC unroll 32
  for (int j = 1; j < kAccumulators; ++j) sum = sum + chains[j];
  T lanes[V::kWidth];
  sum.store(lanes);
  *task.result = lanes[0];
  return task.rounds * kAccumulators * V::kWidth * 2;
}

}  // namespace fusedrnn::FUSEDRNN_ISA
