// A tile of a matrix product on tensor cores, whose results go to a function; tile.h says what and for whom.
//
// Four warps make the sums of 32 rows, eight each, for some tiles of sixteen units with all their gates. Weights and
// rows come in chunks of the depth, several of which are under way while one is multiplied. The order of a sum is that
// of its depth.
#pragma once

#include <cuda_pipeline_primitives.h>

#include <cstring>

#include "cuda/mma.h"
#include "cuda/tile.h"

namespace fusedrnn::cuda {

template <class T, int G>
struct TensorTiles {
  using Core = Fragment;
  static constexpr int kWarps = 4, kThreads = kWarps * Core::kLanes;
  static constexpr int kUnitTiles = G == 1 ? 4 : 1, kUnits = kUnitTiles * Core::kRows;
  static constexpr int kLeftTiles = G * kUnitTiles, kRows = kWarps * Core::kColumns;
  static constexpr int kPieceBytes = 16, kPiece = kPieceBytes / sizeof(T);  // numbers that are copied together
  static constexpr int kDepth = 128 / sizeof(T), kStages = 4;
  static constexpr int kPitch = kDepth + 16;  // so that lanes that read together find different banks

  struct Shared {
    const T* row[kRows];
    alignas(kPieceBytes) T left[kStages][kLeftTiles * Core::kRows][kPitch];  // gate by gate, tile of units by tile
    alignas(kPieceBytes) T right[kStages][kRows][kPitch];
  };

  using Sums = TileSums<float, G, kRows, kUnits>;
  static_assert(sizeof(Sums) <= sizeof(Shared));
  using Parts = float[kLeftTiles][4];  // of the sums, as multiply_tensor has them

  static int64_t blocks(int64_t rows, int64_t columns) { return divide_up(rows, kRows) * divide_up(columns, kUnits); }

  // factor.k_stride is 1, and all its rows begin at a piece; the depth is a whole number of pieces.
  template <class RowAt, class Finish>
  __device__ static void multiply(int64_t tile, int64_t rows, int64_t columns, int64_t depth, const Factor<T>& factor,
                                  const RowAt& row_at, const Finish& finish) {
    auto& shared = shared_memory<Shared>();
    const int64_t unit_tiles = (columns + kUnits - 1) / kUnits;
    const int64_t first_row = tile / unit_tiles * kRows, first_unit = tile % unit_tiles * kUnits;
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kRows) shared.row[thread] = first_row + thread < rows ? row_at(first_row + thread) : nullptr;
    __syncthreads();
    const int64_t chunks = (depth + kDepth - 1) / kDepth;
    const auto fetch = [&](int64_t chunk) {
      if (chunk < chunks) copy_chunk(shared, chunk, columns - first_unit, depth, factor, first_unit);
      __pipeline_commit();
    };
    for (int64_t chunk = 0; chunk < kStages - 1; ++chunk) fetch(chunk);
    Parts parts = {};
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      __pipeline_wait_prior(kStages - 2);
      __syncthreads();  // the chunk is there, and nobody reads the one before it any more, whose place the next one
                        // takes
      fetch(chunk + kStages - 1);
      add(shared, static_cast<int>(chunk % kStages), parts);
    }
    __syncthreads();
    auto& sums = shared_memory<Sums>();
    put(parts, sums);
    sums.hand_out(first_row, rows, first_unit, columns, finish);
  }

 private:
  // The pieces of a chunk, in turn over the threads; zeros beyond the depth. For units that are none and rows of zeros
  // there are zeros in every stage from its first chunk on.
  __device__ static void copy_chunk(Shared& shared, int64_t chunk, int64_t units, int64_t depth,
                                    const Factor<T>& factor, int64_t first_unit) {
    constexpr int kPieces = kDepth / kPiece, kLeftRows = kLeftTiles * Core::kRows;
    const int stage = static_cast<int>(chunk % kStages);
    for (int e = static_cast<int>(threadIdx.x); e < (kLeftRows + kRows) * kPieces; e += kThreads) {
      const int line = e / kPieces, at = e % kPieces * kPiece;
      const int64_t k = chunk * kDepth + at;
      if (line < kLeftRows) {
        const int q = line / kUnits, u = line % kUnits;
        const T* row = factor.data + (first_unit + u) * factor.column_stride + q * factor.gate_stride;
        if (u < units || chunk < kStages)
          copy_piece(&shared.left[stage][line][at], u < units && k < depth ? row + k : nullptr);
      } else {
        const T* row = shared.row[line - kLeftRows];
        if (row != nullptr || chunk < kStages)
          copy_piece(&shared.right[stage][line - kLeftRows][at], row != nullptr && k < depth ? row + k : nullptr);
      }
    }
  }

  __device__ static void copy_piece(T* to, const T* from) {
    if (from == nullptr) {
      memset(to, 0, kPieceBytes);
    } else if (reinterpret_cast<uintptr_t>(from) % kPieceBytes == 0) {
      __pipeline_memcpy_async(to, from, kPieceBytes);
    } else {
      for (int i = 0; i < kPiece; ++i) to[i] = from[i];
    }
  }

  // The terms of the chunk that lies in a stage.
  __device__ static void add(const Shared& shared, int stage, Parts& parts) {
    const int warp = static_cast<int>(threadIdx.x) / Core::kLanes, lane = static_cast<int>(threadIdx.x) % Core::kLanes;
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < kDepth; k += Core::kDepth) {
      const int at = k + t * Core::kRight;
      const FragmentB<T> right = four(&shared.right[stage][warp * Core::kColumns + g][at]);
#pragma unroll
      for (int tile = 0; tile < kLeftTiles; ++tile) {
        const auto* line = &shared.left[stage][tile * Core::kRows + g];
        const FragmentB<T> above = four(&line[0][at]), below = four(&line[8][at]);
        FragmentA<T> left;
#pragma unroll
        for (int i = 0; i < Core::kRight; ++i) {
          left.number[Core::number(0, i, sizeof(T))] = above.number[i];
          left.number[Core::number(8, i, sizeof(T))] = below.number[i];
        }
        multiply_tensor(parts[tile], left, right);
      }
    }
  }

  __device__ static FragmentB<T> four(const T* from) {
    FragmentB<T> numbers = *reinterpret_cast<const FragmentB<T>*>(from);
#pragma unroll
    for (int i = 0; i < Core::kRight; ++i) numbers.number[i] = round_tensor(numbers.number[i]);
    return numbers;
  }

  // What a lane holds, as fragment.h says.
  __device__ static void put(const Parts& parts, Sums& sums) {
    const int warp = static_cast<int>(threadIdx.x) / Core::kLanes, lane = static_cast<int>(threadIdx.x) % Core::kLanes;
#pragma unroll
    for (int tile = 0; tile < kLeftTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums.of[warp * Core::kColumns + lane % 4 * 2 + i % 2][tile * Core::kRows + lane / 4 + i / 2 * 8] =
            parts[tile][i];
  }
};

}  // namespace fusedrnn::cuda
