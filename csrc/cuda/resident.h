// A matrix product, step after step, whose weights stay in shared memory.
//
//   sums[q] = sum over k of row(m)[k] * factor(k, j, q)          q < G
//
// A block has some units j with all their gates: C = G * units columns. Threads are dealt out as (slice of depth, four
// columns); each makes the sums of its slice for eight rows at a time in registers. Then the slices are added in rising
// order, by the thread that goes on with row and unit. So the order of a sum follows from the plan alone.
#pragma once

#include <cuda_runtime.h>

#include "cuda/launch.h"
#include "cuda/plan.h"
#include "cuda/tile.h"

namespace fusedrnn::cuda {

template <class T>
struct Resident {
  int64_t depth;
  int units, columns, slices;  // units of a block, columns of them, slices of depth
  int64_t first_unit, unit_end;
  T* weights;  // (depth, columns), column q * units + u
  T* rows;     // (kRowsAThread, depth)
  T* sums;     // (slices, kRowsAThread, columns)

  // Cuts the shared memory and loads the weights of units first_unit, ..; those beyond `all_units` are zeros.
  __device__ Resident(const Factor<T>& factor, int64_t all_units, int64_t depth_, int gates, int units_, int64_t slice)
      : depth(depth_),
        units(units_),
        columns(units_ * gates),
        slices(kGridThreads / (columns / kColumnsAThread)),
        first_unit(slice * units_),
        unit_end(first_unit + units_ < all_units ? first_unit + units_ : all_units),
        weights(&shared_memory<T>()),
        rows(weights + depth * columns),
        sums(rows + kRowsAThread * depth) {
    for (int64_t e = threadIdx.x; e < depth * columns; e += kGridThreads) {
      // Neighbouring threads read neighbouring numbers, along k or along the units.
      const bool along_k = factor.k_stride == 1;
      const int64_t k = along_k ? e % depth : e / columns;
      const int64_t c = along_k ? e / depth : e % columns;
      const int64_t q = c / units, j = first_unit + c % units;
      weights[k * columns + c] =
          j < unit_end ? factor.data[k * factor.k_stride + j * factor.column_stride + q * factor.gate_stride] : T(0);
    }
  }

  // The rows [begin, end), in turns of kRowsAThread; see tile.h for row_at and finish.
  template <int G, class RowAt, class Finish>
  __device__ void multiply(int64_t begin, int64_t end, const RowAt& row_at, const Finish& finish) const {
    for (int64_t m = begin; m < end; m += kRowsAThread) {
      const int count = static_cast<int>(end - m < kRowsAThread ? end - m : kRowsAThread);
      load_rows(m, count, row_at);
      __syncthreads();
      add_slices();
      __syncthreads();
      for (int e = static_cast<int>(threadIdx.x); e < count * units; e += kGridThreads) {
        const int r = e / units, u = e % units;
        if (first_unit + u >= unit_end) continue;
        T total[G];
        for (int q = 0; q < G; ++q) {
          total[q] = T(0);
          for (int slice = 0; slice < slices; ++slice)
            total[q] += sums[(slice * kRowsAThread + r) * columns + q * units + u];
        }
        finish(m + r, first_unit + u, total);
      }
    }
  }

 private:
  // Other blocks wrote these rows a moment ago: they are read past the first-level cache, which may hold older ones.
  template <class RowAt>
  __device__ void load_rows(int64_t m, int count, const RowAt& row_at) const {
    for (int r = 0; r < kRowsAThread; ++r) {
      const T* row = r < count ? row_at(m + r) : nullptr;
      for (int64_t k = threadIdx.x; k < depth; k += kGridThreads)
        rows[r * depth + k] = row == nullptr ? T(0) : __ldcg(row + k);
    }
  }

  // The sums of one slice of depth for four columns and all rows.
  __device__ void add_slices() const {
    const int lanes = columns / kColumnsAThread;
    const int slice = static_cast<int>(threadIdx.x) / lanes,
              c = static_cast<int>(threadIdx.x) % lanes * kColumnsAThread;
    if (slice >= slices) return;
    T sum[kRowsAThread][kColumnsAThread] = {};
    for (int64_t k = depth * slice / slices; k < depth * (slice + 1) / slices; ++k) {
      T w[kColumnsAThread];
#pragma unroll
      for (int i = 0; i < kColumnsAThread; ++i) w[i] = weights[k * columns + c + i];
#pragma unroll
      for (int r = 0; r < kRowsAThread; ++r) {
        const T h = rows[r * depth + k];
#pragma unroll
        for (int i = 0; i < kColumnsAThread; ++i) sum[r][i] += h * w[i];
      }
    }
#pragma unroll
    for (int r = 0; r < kRowsAThread; ++r)
#pragma unroll
      for (int i = 0; i < kColumnsAThread; ++i) sums[(slice * kRowsAThread + r) * columns + c + i] = sum[r][i];
  }
};

}  // namespace fusedrnn::cuda
