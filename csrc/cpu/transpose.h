// Rows become columns, W x W values at a time, in registers.
#pragma once

#include "cpu/share.h"
#include "cpu/simd.h"

namespace fusedrnn::FUSEDRNN_ISA {

// Interleaving row i with row i + W/2 moves the first bit of the row's number behind the last bit of the lane's. After
// as many rounds as either has bits they have changed places.
template <class T>
FUSEDRNN_INLINE void transpose_block(Vec<T> (&block)[Vec<T>::kWidth]) {
  constexpr int W = Vec<T>::kWidth;
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
    Vec<T> next[W];
#pragma GCC unroll 8
    for (int i = 0; i < W / 2; ++i) {
      next[2 * i] = interleave_low(block[i], block[i + W / 2]);
      next[2 * i + 1] = interleave_high(block[i], block[i + W / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) block[i] = next[i];
  }
}

// to[j * to_pitch + lane] = row(lane)[j]   lane < rows <= W, j < columns
// and 0 for rows <= lane < width <= W. Unless it is 0, what lies `ahead` values further is asked for.
template <class T, class Row>
FUSEDRNN_INLINE void into_lanes(int64_t rows, int64_t columns, const Row& row, T* to, int64_t to_pitch, int64_t width,
                                int64_t ahead = 0) {
  constexpr int W = Vec<T>::kWidth;
  for (int64_t j = 0; j < columns; j += W) {
    Vec<T> block[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) block[i] = i < rows ? load_columns(row(i) + j, columns - j) : Vec<T>(0);
    for (int i = 0; ahead != 0 && i < rows && i < W; ++i) __builtin_prefetch(row(i) + j + ahead);
    if constexpr (W > 1) transpose_block<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      if (j + i < columns) store_columns(to + (j + i) * to_pitch, width, block[i]);
  }
}

// The way back: row(lane)[j] = from[j * W + lane]   lane < rows <= W, j < columns
template <class T, class Row>
FUSEDRNN_INLINE void out_of_lanes(int64_t rows, int64_t columns, const T* from, const Row& row) {
  constexpr int W = Vec<T>::kWidth;
  for (int64_t j = 0; j < columns; j += W) {
    Vec<T> block[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) block[i] = j + i < columns ? Vec<T>::load(from + (j + i) * W) : Vec<T>(0);
    if constexpr (W > 1) transpose_block<T>(block);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      if (i < rows) store_columns(row(i) + j, columns - j, block[i]);
  }
}

// to[j * to_pitch + r] = from[r * from_pitch + j]   r < rows, j < columns
// and 0 for rows <= r < to_columns. `far`: rows that no near cache holds and that lie pages apart, so the processor
// does not see what comes next: the next block of them is asked for.
template <class T>
FUSEDRNN_NOINLINE void transpose(const T* from, int64_t from_pitch, int64_t rows, int64_t columns, T* to,
                                 int64_t to_pitch, int64_t to_columns, bool far = false) {
  for (int64_t r = 0; r < to_columns; r += Vec<T>::kWidth)
    into_lanes(
        rows - r, columns, [&](int i) { return from + (r + i) * from_pitch; }, to + r, to_pitch, to_columns - r,
        far && r + Vec<T>::kWidth < rows ? Vec<T>::kWidth * from_pitch : 0);
}

}  // namespace fusedrnn::FUSEDRNN_ISA
