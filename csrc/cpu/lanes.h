// Rows in lanes: what forward and backward have in common.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"

namespace fusedrnn::FUSEDRNN_ISA {

// The blocks that a thread takes through the steps together, each W rows from a multiple of W in the order on. Blocks
// are dealt out like cards where rows have lengths, else each thread has neighbours.
template <class T>
class Bundle {
  static constexpr int64_t W = Vec<T>::kWidth;

 public:
  static constexpr int kMost = Tiles<T, 1>::kMaxGroups;

  Bundle(const Clock& clock, int thread, int threads)
      : rows_(clock.rows), end_(divide_up(rows_, W)), first_(thread), stride_(threads) {
    if (clock.extent.lengths == nullptr) {
      const Range part = part_of(end_, thread, threads);
      first_ = part.begin, end_ = part.end, stride_ = 1;
    }
    count = count_from(first_);
  }
  void next() {
    first_ += count * stride_;
    count = count_from(first_);
  }

  int64_t block(int64_t u) const { return first_ + u * stride_; }
  int64_t first_row(int64_t u) const { return block(u) * W; }
  // How many of the first `live` positions are in block u.
  int64_t rows(int64_t u, int64_t live) const { return larger(0, smaller(live - first_row(u), W)); }
  int64_t rows(int64_t u) const { return rows(u, rows_); }
  // How many blocks have any of them.
  int live_blocks(int64_t live) const {
    int blocks = 0;
    while (blocks < count && rows(blocks, live) > 0) ++blocks;
    return blocks;
  }

  // Of the rows that a thread of the team has.
  double share(const Team& team) const {
    return static_cast<double>(count * W * team.size()) / static_cast<double>(rows_);
  }

  int count;  // blocks, 0 when there is none left

 private:
  int count_from(int64_t first) const {
    return first >= end_ ? 0 : static_cast<int>(smaller(kMost, divide_up(end_ - first, stride_)));
  }

  const int64_t rows_;
  int64_t end_, first_, stride_;  // blocks
};

// Values of a bundle, for every thread: [column][lane] of each block, one block after the other.
template <class T>
class Blocks {
 public:
  Blocks() = default;
  Blocks(Carver& carver, int threads, int64_t columns)
      : block_(columns * Vec<T>::kWidth), data_(carver.take<T>(threads * Bundle<T>::kMost * block_)) {}
  FUSEDRNN_INLINE T* at(int thread, int64_t u) const { return data_ + (thread * Bundle<T>::kMost + u) * block_; }

 private:
  int64_t block_ = 0;
  T* data_ = nullptr;
};

// Pointers to the rows of a matrix, as the tile takes them.
template <class T>
struct RowPointers {
  RowPointers() = default;
  RowPointers(Carver& carver, int64_t rows_of_matrix, const T* matrix_, int64_t columns_)
      : rows(rows_of_matrix > 0 ? carver.take<const T*>(rows_of_matrix) : nullptr),
        count(rows_of_matrix),
        matrix(matrix_),
        columns(columns_) {}
  void fill() const {
    for (int64_t r = 0; r < count; ++r) rows[r] = matrix + r * columns;
  }

  const T** rows = nullptr;
  int64_t count = 0;
  const T* matrix = nullptr;
  int64_t columns = 0;
};

// The caller's state (B, columns), nullptr for zeros, of block u.
template <class T>
FUSEDRNN_INLINE void load_state(const T* from, int64_t columns, const Clock& clock, const Bundle<T>& bundle, int u,
                                T* to) {
  into_lanes(
      from ? bundle.rows(u) : 0, columns,
      [&](int lane) { return from + clock.row[bundle.first_row(u) + lane] * columns; }, to, Vec<T>::kWidth,
      Vec<T>::kWidth);
}

template <class T>
FUSEDRNN_INLINE void clear_lane(T* block, int64_t columns, int lane) {
  for (int64_t j = 0; j < columns; ++j) block[j * Vec<T>::kWidth + lane] = T(0);
}

}  // namespace fusedrnn::FUSEDRNN_ISA
