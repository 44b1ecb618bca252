// How the threads of a block share the sums of tier grid: by slices of depth, which are added afterwards.
//
//   sums[slice][r][c] = sum over the k of the slice of rows[r][k] * weights[k][c]        kRowsAThread rows r
//
// ScalarSlices multiplies number by number: a thread makes four columns of all rows for one slice. TensorSlices does it
// on tensor cores: a warp makes sixteen columns of all rows. `weights` lies as each of them reads it.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

#include "cuda/mma.h"
#include "cuda/number.h"
#include "cuda/plan.h"

namespace fusedrnn::cuda {

template <class T>
struct ScalarSlices {
  static constexpr int kMostRowNumbers = 1024;  // of a row at a time: a long one would leave no room for the weights
  int depth_padded, columns, pitch, slices;     // pitch: of rows

  struct Sums {
    Wide<T> sum[kRowsAThread][kColumnsAThread];
  };

  struct alignas(16) FourWeights {
    T weight[kColumnsAThread];
  };

  FUSEDRNN_INLINE ScalarSlices(int64_t depth, int columns_)
      : depth_padded(static_cast<int>(depth)),
        columns(columns_),
        pitch(depth_padded < kMostRowNumbers ? depth_padded : kMostRowNumbers),
        slices(kGridThreads / (columns_ / kColumnsAThread)) {}

  // Where the weight of k and column c is.
  FUSEDRNN_INLINE int64_t place(int k, int c) const { return static_cast<int64_t>(k) * columns + c; }

  FUSEDRNN_INLINE int lanes() const { return columns / kColumnsAThread; }
  __device__ int slice() const { return static_cast<int>(threadIdx.x) / lanes(); }
  __device__ int column() const { return static_cast<int>(threadIdx.x) % lanes() * kColumnsAThread; }

  // The terms of numbers [begin, begin + count) of the rows, which are in `rows`. Slices take turns: so the threads of
  // a warp read neighbouring numbers, from different banks.
  __device__ void add(const T* weights, const T* rows, int begin, int count, Sums& sums) const {
    if (slice() >= slices) return;
    const T* w_at = weights + place(begin, column());
    for (int k = slice(); k < count; k += slices) {
      const auto w = *reinterpret_cast<const FourWeights*>(w_at + place(k, 0));
#pragma unroll
      for (int r = 0; r < kRowsAThread; ++r) {
        const Wide<T> h = wide(rows[r * pitch + k]);
#pragma unroll
        for (int i = 0; i < kColumnsAThread; ++i) sums.sum[r][i] += h * wide(w.weight[i]);
      }
    }
  }

  __device__ void store(const Sums& sums, Wide<T>* out) const {
    if (slice() >= slices) return;
#pragma unroll
    for (int r = 0; r < kRowsAThread; ++r)
#pragma unroll
      for (int i = 0; i < kColumnsAThread; ++i)
        out[(slice() * kRowsAThread + r) * columns + column() + i] = sums.sum[r][i];
  }
};

template <class T>
struct TensorSlices {
  static constexpr int kTile = 16, kLanes = 32, kWarps = kGridThreads / kLanes;
  static constexpr int kNumbersALane = 8;       // of a tile of weights
  static constexpr int kTasks = 2;              // (tile, slice) pairs of a warp, at most
  static constexpr int kMostRowNumbers = 2048;  // as above
  int depth_padded, columns, pitch, slices;

  // Rows are eight numbers longer than the depth, so that the same k of neighbouring rows lies in different banks.
  FUSEDRNN_INLINE TensorSlices(int64_t depth, int columns_)
      : depth_padded(static_cast<int>((depth + kTile - 1) / kTile * kTile)),
        columns((columns_ + kTile - 1) / kTile * kTile),
        pitch((depth_padded < kMostRowNumbers ? depth_padded : kMostRowNumbers) + 8),
        slices(columns >= kWarps * kTile ? 1 : kWarps / (columns / kTile)) {}

  // Tile by tile as the lanes hold them, see mma.h: a lane's eight numbers side by side.
  FUSEDRNN_INLINE int64_t place(int k, int c) const {
    const int r = c % kTile, kk = k % kTile;
    const int lane = r % 8 * 4 + kk % 8 / 2, part = r / 8 + kk / 8 * 2;
    const int64_t tile = static_cast<int64_t>(c / kTile) * (depth_padded / kTile) + k / kTile;
    return (tile * kLanes + lane) * kNumbersALane + part * 2 + kk % 2;
  }

  struct Sums {
    float sum[kTasks][4];  // as multiply_tensor has them
  };

  FUSEDRNN_INLINE int tiles() const { return columns / kTile; }

  // The terms of numbers [begin, begin + count) of the rows, which are in `rows`; both are whole tiles.
  __device__ void add(const T* weights, const T* rows, int begin, int count, Sums& sums) const {
    const int lane = static_cast<int>(threadIdx.x) % kLanes, g = lane / 4, t = lane % 4;
    const int steps = count / kTile;
#pragma unroll
    for (int i = 0; i < kTasks; ++i) {
      const int task = static_cast<int>(threadIdx.x) / kLanes + i * kWarps;
      if (task >= tiles() * slices) return;
      const int tile = task % tiles(), slice = task / tiles();
      const auto* w = reinterpret_cast<const uint4*>(weights + place(begin, tile * kTile)) + lane;
      const T* h = rows + g * pitch + t * 2;
      for (int k = steps * slice / slices; k < steps * (slice + 1) / slices; ++k) {
        const uint4 packed = w[k * kLanes];
        const auto* pair = reinterpret_cast<const uint32_t*>(h + k * kTile);
        const uint32_t a[4] = {packed.x, packed.y, packed.z, packed.w}, b[2] = {pair[0], pair[4]};
        multiply_tensor(sums.sum[i], a, b, T{});
      }
    }
  }

  __device__ void store(const Sums& sums, float* out) const {
    const int lane = static_cast<int>(threadIdx.x) % kLanes, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < kTasks; ++i) {
      const int task = static_cast<int>(threadIdx.x) / kLanes + i * kWarps;
      if (task >= tiles() * slices) return;
      float* at = out + (task / tiles() * kRowsAThread + t * 2) * columns + task % tiles() * kTile + g;
      at[0] = sums.sum[i][0], at[columns] = sums.sum[i][1];
      at[8] = sums.sum[i][2], at[columns + 8] = sums.sum[i][3];
    }
  }
};

template <class T>
using Slices = std::conditional_t<kTensor<T>, TensorSlices<T>, ScalarSlices<T>>;

// Shared memory of a block of tier grid: its part of the weights, the rows of a turn, the sums of all slices.
template <class T>
int64_t grid_shared_bytes(int64_t depth, int units, int gates) {
  const Slices<T> shape(depth, units * gates);
  const int64_t numbers = static_cast<int64_t>(shape.depth_padded) * shape.columns + kRowsAThread * shape.pitch;
  const int64_t sums = static_cast<int64_t>(shape.slices) * kRowsAThread * shape.columns;
  return (numbers * sizeof(T) + 15) / 16 * 16 + sums * sizeof(Wide<T>);
}

}  // namespace fusedrnn::cuda
