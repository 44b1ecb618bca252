// How the threads of a block share the sums of a product whose weights are resident: by slices of depth, which are
// added afterwards.
//
//   sums[slice][r][c] = sum over the k of the slice of rows[r][k] * weights[k][c]        kRowsAThread rows r
//
// ScalarSlices multiplies number by number: a thread makes four columns of all rows for one slice. TensorSlices does it
// on tensor cores: a warp makes sixteen columns at a time, of all rows. `weights` lies as each of them reads it.
#pragma once

#include <cuda_runtime.h>

#include "cuda/mma.h"
#include "cuda/number.h"
#include "cuda/plan.h"

namespace fusedrnn::cuda {

FUSEDRNN_INLINE int round_up(int64_t count, int to) { return static_cast<int>((count + to - 1) / to * to); }

template <class N>
struct ScalarSlices {
  using Number = N;
  static constexpr int kQuad = 4;               // numbers of a row that a thread reads at a time
  static constexpr int kMostRowNumbers = 1024;  // of a row at a time: a long one would leave no room for the weights
  int depth_padded, columns, pitch, slices;     // pitch: of rows

  struct Sums {
    Wide<N> sum[kRowsAThread][kColumnsAThread];
  };

  struct alignas(16) Four {
    N number[4];
  };

  // whole: rows have all their numbers at a time.
  FUSEDRNN_INLINE ScalarSlices(int64_t depth, int columns_, bool whole)
      : depth_padded(round_up(depth, kQuad)),
        columns(columns_),
        pitch(whole || depth_padded < kMostRowNumbers ? depth_padded : kMostRowNumbers),
        slices(kResidentThreads / lanes() < depth_padded / kQuad ? kResidentThreads / lanes() : depth_padded / kQuad) {}

  // Where the weight of k and column c is: neighbouring slices, which read neighbouring quads, find theirs in
  // different banks.
  FUSEDRNN_INLINE int64_t place(int k, int c) const {
    return static_cast<int64_t>(k % kQuad * (depth_padded / kQuad) + k / kQuad) * columns + c;
  }

  __device__ static N stored(N weight) { return weight; }

  FUSEDRNN_INLINE int lanes() const { return columns / kColumnsAThread; }
  __device__ int slice() const { return static_cast<int>(threadIdx.x) / lanes(); }
  __device__ int column() const { return static_cast<int>(threadIdx.x) % lanes() * kColumnsAThread; }

  // The terms of numbers [begin, begin + count) of the rows, which are in `rows`; both are whole quads. Only so many
  // rows `are`: the sums of the others are of no use.
  __device__ void add(const N* weights, const N* rows, int are, int begin, int count, Sums& sums) const {
    if (slice() >= slices) return;
    if (are == 1)
      add_rows<1>(weights, rows, begin, count, sums);
    else if (are == 2)
      add_rows<2>(weights, rows, begin, count, sums);
    else if (are <= 4)
      add_rows<4>(weights, rows, begin, count, sums);
    else
      add_rows<kRowsAThread>(weights, rows, begin, count, sums);
  }

  __device__ void store(const Sums& sums, Wide<N>* out) const {
    if (slice() >= slices) return;
#pragma unroll
    for (int r = 0; r < kRowsAThread; ++r)
#pragma unroll
      for (int c = 0; c < kColumnsAThread; ++c)
        out[(slice() * kRowsAThread + r) * columns + column() + c] = sums.sum[r][c];
  }

 private:
  template <int R>
  __device__ void add_rows(const N* weights, const N* rows, int begin, int count, Sums& sums) const {
    for (int k = slice() * kQuad; k < count; k += slices * kQuad) {
      Four w[kQuad];
#pragma unroll
      for (int i = 0; i < kQuad; ++i) w[i] = *reinterpret_cast<const Four*>(weights + place(begin + k + i, column()));
#pragma unroll
      for (int r = 0; r < R; ++r) {
        const auto h = *reinterpret_cast<const Four*>(rows + r * pitch + k);
#pragma unroll
        for (int i = 0; i < kQuad; ++i)
#pragma unroll
          for (int c = 0; c < kColumnsAThread; ++c) sums.sum[r][c] += wide(h.number[i]) * wide(w[i].number[c]);
      }
    }
  }
};

template <class N>
struct TensorSlices {
  using Number = N;
  static constexpr int kTile = Fragment::kDepth, kLanes = Fragment::kLanes, kWarps = kResidentThreads / kLanes;
  static constexpr int kTilesAWarp = 8;         // at most
  static constexpr int kMostRowNumbers = 2048;  // as above
  int depth_padded, columns, pitch, slices;

  // Rows are sixteen numbers longer than the depth, so that the lanes that read together find different banks.
  FUSEDRNN_INLINE TensorSlices(int64_t depth, int columns_, bool whole)
      : depth_padded(round_up(depth, kTile)),
        columns(round_up(columns_, kTile)),
        pitch((whole || depth_padded < kMostRowNumbers ? depth_padded : kMostRowNumbers) + kTile),
        slices(tiles() >= kWarps ? 1 : kWarps / tiles()) {}

  // Tile by tile as the lanes hold them: a lane's eight numbers side by side.
  FUSEDRNN_INLINE int64_t place(int k, int c) const {
    const int r = c % kTile, kk = k % kTile;
    const int64_t tile = static_cast<int64_t>(c / kTile) * (depth_padded / kTile) + k / kTile;
    const int64_t lane = tile * kLanes + Fragment::lane(r, kk);
    return lane * Fragment::kLeft + Fragment::number(r, kk, sizeof(N));
  }

  __device__ static N stored(N weight) { return round_tensor(weight); }

  struct Sums {
    float sum[kTilesAWarp][4];  // as multiply_tensor has them
  };

  FUSEDRNN_INLINE int tiles() const { return columns / kTile; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / kLanes; }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kLanes; }
  // A warp has several tiles of the whole depth, or a slice of one; a tile of `tiles()` or more is none.
  __device__ int tile(int i) const {
    if (slices == 1) return warp() + i * kWarps;
    return i == 0 && warp() < tiles() * slices ? warp() % tiles() : tiles();
  }
  __device__ int slice() const { return slices == 1 ? 0 : warp() / tiles(); }

  // The terms of numbers [begin, begin + count) of the rows, which are in `rows`; both are whole tiles. However many
  // rows there are, a tile has all.
  __device__ void add(const N* weights, const N* rows, int, int begin, int count, Sums& sums) const {
    if (tile(0) >= tiles()) return;
    const int steps = count / kTile;
    const auto* left = reinterpret_cast<const FragmentA<N>*>(weights) + begin / kTile * kLanes + lane();
    const N* right = rows + lane() / 4 * pitch + lane() % 4 * Fragment::kRight;
    for (int k = steps * slice() / slices; k < steps * (slice() + 1) / slices; ++k) {
      const auto b = rounded(*reinterpret_cast<const FragmentB<N>*>(right + k * kTile));
#pragma unroll
      for (int i = 0; i < kTilesAWarp; ++i)
        if (tile(i) < tiles()) multiply_tensor(sums.sum[i], left[(tile(i) * (depth_padded / kTile) + k) * kLanes], b);
    }
  }

  __device__ void store(const Sums& sums, float* out) const {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int i = 0; i < kTilesAWarp; ++i) {
      if (tile(i) >= tiles()) return;
      float* at = out + (slice() * kRowsAThread + t * 2) * columns + tile(i) * kTile + g;
      at[0] = sums.sum[i][0], at[columns] = sums.sum[i][1];
      at[8] = sums.sum[i][2], at[columns + 8] = sums.sum[i][3];
    }
  }

 private:
  __device__ static FragmentB<N> rounded(FragmentB<N> b) {
#pragma unroll
    for (int i = 0; i < Fragment::kRight; ++i) b.number[i] = round_tensor(b.number[i]);
    return b;
  }
};

// Shared memory of a block: its part of the weights, the rows, and the sums of all slices. Rows are those of a turn,
// or all rows of a group twice, where blocks hand them on.
template <class Product>
struct ResidentRoom {
  Product product;
  int64_t rows;  // how many, all copies together

  FUSEDRNN_INLINE ResidentRoom(int64_t depth, int columns, const Plan& plan)
      : product(depth, columns, plan.hands_on()),
        rows(plan.hands_on() ? 2 * round_up(plan.group_rows, kRowsAThread) : kRowsAThread) {}

  FUSEDRNN_INLINE int64_t weights() const { return static_cast<int64_t>(product.depth_padded) * product.columns; }
  FUSEDRNN_INLINE int64_t sums_begin() const {  // bytes
    constexpr auto kBytes = static_cast<int64_t>(sizeof(typename Product::Number));
    return ((weights() + rows * product.pitch) * kBytes + 15) / 16 * 16;
  }
  FUSEDRNN_INLINE int64_t bytes() const {
    const int64_t sums = static_cast<int64_t>(product.slices) * kRowsAThread * product.columns;
    return sums_begin() + sums * static_cast<int64_t>(sizeof(Wide<typename Product::Number>));
  }
};

}  // namespace fusedrnn::cuda
