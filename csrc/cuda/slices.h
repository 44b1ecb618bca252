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
  int depth_padded, columns, pitch, slices;  // pitch: of rows

  FUSEDRNN_INLINE ScalarSlices(int64_t depth, int columns_)
      : depth_padded(static_cast<int>(depth)),
        columns(columns_),
        pitch(static_cast<int>(depth)),
        slices(kGridThreads / (columns_ / kColumnsAThread)) {}

  // Where the weight of k and column c is.
  FUSEDRNN_INLINE int64_t place(int k, int c) const { return static_cast<int64_t>(k) * columns + c; }

  __device__ void add(const T* weights, const T* rows, Wide<T>* sums) const {
    const int lanes = columns / kColumnsAThread;
    const int slice = static_cast<int>(threadIdx.x) / lanes,
              c = static_cast<int>(threadIdx.x) % lanes * kColumnsAThread;
    if (slice >= slices) return;
    Wide<T> sum[kRowsAThread][kColumnsAThread] = {};
    for (int k = depth_padded * slice / slices; k < depth_padded * (slice + 1) / slices; ++k) {
      Wide<T> w[kColumnsAThread];
#pragma unroll
      for (int i = 0; i < kColumnsAThread; ++i) w[i] = wide(weights[place(k, c + i)]);
#pragma unroll
      for (int r = 0; r < kRowsAThread; ++r) {
        const Wide<T> h = wide(rows[r * pitch + k]);
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

template <class T>
struct TensorSlices {
  static constexpr int kTile = 16, kLanes = 32, kWarps = kGridThreads / kLanes;
  static constexpr int kNumbersALane = 8;  // of a tile of weights
  int depth_padded, columns, pitch, slices;

  // Rows are eight numbers longer than the depth, so that the same k of neighbouring rows lies in different banks.
  FUSEDRNN_INLINE TensorSlices(int64_t depth, int columns_)
      : depth_padded(static_cast<int>((depth + kTile - 1) / kTile * kTile)),
        columns((columns_ + kTile - 1) / kTile * kTile),
        pitch(depth_padded + 8),
        slices(columns >= kWarps * kTile ? 1 : kWarps / (columns / kTile)) {}

  // Tile by tile as the lanes hold them, see mma.h: a lane's eight numbers side by side.
  FUSEDRNN_INLINE int64_t place(int k, int c) const {
    const int r = c % kTile, kk = k % kTile;
    const int lane = r % 8 * 4 + kk % 8 / 2, part = r / 8 + kk / 8 * 2;
    const int64_t tile = static_cast<int64_t>(c / kTile) * (depth_padded / kTile) + k / kTile;
    return (tile * kLanes + lane) * kNumbersALane + part * 2 + kk % 2;
  }

  __device__ void add(const T* weights, const T* rows, float* sums) const {
    const int lane = static_cast<int>(threadIdx.x) % kLanes, g = lane / 4, t = lane % 4;
    const int tiles = columns / kTile, steps = depth_padded / kTile;
    for (int task = static_cast<int>(threadIdx.x) / kLanes; task < tiles * slices; task += kWarps) {
      const int tile = task % tiles, slice = task / tiles;
      float c[4] = {};
      for (int k = steps * slice / slices; k < steps * (slice + 1) / slices; ++k) {
        const auto* w =
            reinterpret_cast<const uint4*>(weights) + (static_cast<int64_t>(tile) * steps + k) * kLanes + lane;
        const auto* h = reinterpret_cast<const uint32_t*>(rows + g * pitch + k * kTile + t * 2);
        const uint4 packed = *w;
        const uint32_t a[4] = {packed.x, packed.y, packed.z, packed.w}, b[2] = {h[0], h[4]};
        multiply_tensor(c, a, b, T{});
      }
      float* out = sums + slice * kRowsAThread * columns + tile * kTile + g;
      out[(t * 2) * columns] = c[0], out[(t * 2 + 1) * columns] = c[1];
      out[(t * 2) * columns + 8] = c[2], out[(t * 2 + 1) * columns + 8] = c[3];
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
