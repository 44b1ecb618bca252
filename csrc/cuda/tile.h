// A tile of a matrix product whose results never reach memory: they go to a function, the rest of the work on a row.
//
//   sums[q] = sum over k of row(m)[k] * factor(k, j, q)          q < G
//
// A block makes the sums of kRows rows m and kUnits columns j, for all G gates of a column at once. Thread (row, unit)
// sums R rows of one column. The sum of every kRun terms is rounded on its own and these are added in rising order, so
// the error grows with the square root of the runs, and the order follows from the sizes alone. At the end the sums lie
// in shared memory, and neighbouring threads go on with neighbouring columns.
#pragma once

#include <cuda_runtime.h>

#include "contract/inline.h"
#include "cuda/launch.h"
#include "cuda/number.h"

namespace fusedrnn::cuda {

// A matrix that is read in tiles: the entry of k, column j and gate q is data[k * k_stride + j * column_stride +
// q * gate_stride]; k_stride or column_stride is 1.
template <class T>
struct Factor {
  const T* data;
  int64_t k_stride, column_stride, gate_stride;
};

// The sums of a tile in shared memory, gate by gate. They take the place of what the product has needed there.
template <class Number, int G, int Rows, int Units>
struct TileSums {
  Number of[Rows][G * Units + 4];  // four more, so that tensor cores' lanes write to different banks

  // Calls finish(m, j, sums) for the rows and columns that there are.
  template <class Finish>
  __device__ void hand_out(int64_t first_row, int64_t rows, int64_t first_unit, int64_t columns,
                           const Finish& finish) const {
    __syncthreads();
#pragma unroll 1  // a copy of `finish` for each turn would take long to compile and hide no more of its loads
    for (int e = static_cast<int>(threadIdx.x); e < Rows * Units; e += static_cast<int>(blockDim.x)) {
      const int r = e / Units, u = e % Units;
      if (first_row + r >= rows || first_unit + u >= columns) continue;
      Number sums[G];
#pragma unroll
      for (int q = 0; q < G; ++q) sums[q] = of[r][q * Units + u];
      finish(first_row + r, first_unit + u, sums);
    }
  }
};

template <class T, int G, int R>
struct Tile {
  static constexpr int kUnits = 16, kRowThreads = 8, kThreads = kUnits * kRowThreads;
  static constexpr int kRows = kRowThreads * R;
  static constexpr int kDepth = 32, kRun = 4 * kDepth;

  struct Shared {
    const T* row[kRows];
    Wide<T> left[kRows][kDepth + 1];  // one more, so that a column of it lies in different banks
    Wide<T> right[G][kDepth][kUnits + 1];
  };
  using Sums = TileSums<Wide<T>, G, kRows, kUnits>;
  static_assert(sizeof(Sums) <= sizeof(Shared));

  static int64_t blocks(int64_t rows, int64_t columns) { return divide_up(rows, kRows) * divide_up(columns, kUnits); }

  // The tile number `tile` of `rows` times `columns` over `depth` terms. row_at(m) is where row m begins, nullptr for
  // zeros; finish(m, j, sums) takes the G sums of a row and a column.
  template <class RowAt, class Finish>
  __device__ static void multiply(int64_t tile, int64_t rows, int64_t columns, int64_t depth, const Factor<T>& factor,
                                  const RowAt& row_at, const Finish& finish) {
    auto& shared = shared_memory<Shared>();
    const int64_t unit_tiles = (columns + kUnits - 1) / kUnits;
    const int64_t first_row = tile / unit_tiles * kRows, first_unit = tile % unit_tiles * kUnits;
    const int thread = static_cast<int>(threadIdx.x), unit = thread % kUnits, row = thread / kUnits * R;

    for (int r = thread; r < kRows; r += kThreads)
      shared.row[r] = first_row + r < rows ? row_at(first_row + r) : nullptr;
    Wide<T> total[R][G] = {}, sum[R][G] = {};
    for (int64_t k0 = 0; k0 < depth; k0 += kDepth) {
      const int count = static_cast<int>(depth - k0 < kDepth ? depth - k0 : kDepth);
      __syncthreads();
      for (int e = thread; e < kRows * kDepth; e += kThreads) {
        const int r = e / kDepth, k = e % kDepth;
        shared.left[r][k] = k < count && shared.row[r] != nullptr ? wide(shared.row[r][k0 + k]) : Wide<T>(0);
      }
      for (int e = thread; e < G * kUnits * kDepth; e += kThreads) {
        // Neighbouring threads read neighbouring numbers, along k or along the columns.
        const bool along_k = factor.k_stride == 1;
        const int q = e / (kUnits * kDepth);
        const int k = along_k ? e % kDepth : e / kUnits % kDepth;
        const int u = along_k ? e / kDepth % kUnits : e % kUnits;
        const bool inside = k < count && first_unit + u < columns;
        const int64_t at =
            (k0 + k) * factor.k_stride + (first_unit + u) * factor.column_stride + q * factor.gate_stride;
        shared.right[q][k][u] = inside ? wide(factor.data[at]) : Wide<T>(0);
      }
      __syncthreads();
      for (int k = 0; k < kDepth; ++k)
        for (int r = 0; r < R; ++r)
          for (int q = 0; q < G; ++q) sum[r][q] += shared.left[row + r][k] * shared.right[q][k][unit];
      if ((k0 + kDepth) % kRun == 0 || k0 + kDepth >= depth)
        for (int r = 0; r < R; ++r)
          for (int q = 0; q < G; ++q) total[r][q] += sum[r][q], sum[r][q] = Wide<T>(0);
    }
    __syncthreads();
    auto& sums = shared_memory<Sums>();
    for (int r = 0; r < R; ++r)
      for (int q = 0; q < G; ++q) sums.of[row + r][q * kUnits + unit] = total[r][q];
    sums.hand_out(first_row, rows, first_unit, columns, finish);
  }
};

}  // namespace fusedrnn::cuda
