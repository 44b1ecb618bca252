// Sums of outer products, as weight gradients are: out (M, N) = or += sum over r of left_r^T right_r.
//
// Vectors run along the columns N, unless these are so few that most lanes would be empty: then the product is turned,
// and vectors run along M. Every sum takes r in rising order, in runs (cpu/tile.h), whichever it is.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
class OuterProducts {
  using V = Vec<T>;
  static constexpr int W = V::kWidth;
  static constexpr int64_t kApart = 64 / sizeof(T);  // a cache line, so that near rows never share all their sets
  static constexpr int64_t kBlockValues = (512 << 10) / sizeof(T);  // half of a second-level cache

 public:
  // Whether to turn it. Adding a turned sum to what is there goes value by value, so it must be worth it.
  static bool turns(int64_t M, int64_t N) { return 5 * N * groups_of<T>(M) < 4 * M * groups_of<T>(N); }

  // For `most` rows r, M up to most_rows, and N up to most_turned where the product is turned.
  OuterProducts(int64_t threads, int64_t most, int64_t most_rows, int64_t most_turned, int64_t run, Carver& carver)
      : run_(run),
        most_(most),
        pitch_(most + kApart),
        pack_groups_(larger(kBlockValues / larger(most * W, 1), Tiles<T, 1>::kMaxGroups)),
        pointer_pitch_(larger(most_rows, most_turned)),
        most_turned_(most_turned) {
    pack_ = carver.take<T>(threads * pack_groups_ * most * W);
    columns_ = carver.take<T>(threads * most_turned * pitch_);
    pointers_ = carver.take<const T*>(threads * pointer_pitch_);
  }

  int64_t pitch() const { return pitch_; }  // of a transposed left factor (M, pitch)

  // For some rows of out and groups of its columns. Both factors are taken in blocks that stay in the cache.
  void add(const T* left_columns, Range rows_out, const T* const* right, int64_t count, T* out, int64_t columns,
           Range groups, bool assign, int thread) const {
    T* pack = pack_ + thread * pack_groups_ * most_ * W;
    const T** pointers = pointers_ + thread * pointer_pitch_;
    const int64_t row_block = larger(kBlockValues / larger(count, 1), TileShape<1>::kRows);
    for (int64_t g0 = groups.begin; g0 < groups.end; g0 += pack_groups_) {
      const int64_t width = smaller(pack_groups_, groups.end - g0);
      pack_rows_of([&](int64_t r) { return right[r]; }, count, columns, {g0, g0 + width}, pack);
      for (int64_t j0 = rows_out.begin; j0 < rows_out.end; j0 += row_block) {
        const int64_t rows = smaller(row_block, rows_out.end - j0);
        for (int64_t j = 0; j < rows; ++j) pointers[j] = left_columns + (j0 + j) * pitch_;
        product<T, 1>(rows, pointers, count, run_, pack, 0, width, Order::kRising,
                      one_by_one([&](int64_t r, int64_t u, const T* sums) {
                        const int64_t i = (g0 + u) * W;
                        T* at = out + (j0 + r) * columns + i;
                        const V sum = V::load(sums);
                        ask_for_next_tile(at, columns);
                        store_columns(at, columns - i, assign ? sum : load_columns(at, columns - i) + sum);
                      }));
      }
    }
  }

  // Turned, for some groups of rows of out: left (count, M) as it is.
  void add_turned(const T* left, int64_t M, Range groups, const T* const* right, int64_t count, T* out, int64_t columns,
                  bool assign, int thread) const {
    T* pack = pack_ + thread * pack_groups_ * most_ * W;
    T* right_columns = columns_ + thread * most_turned_ * pitch_;
    const T** pointers = pointers_ + thread * pointer_pitch_;
    for (int64_t r = 0; r < count; r += W)
      into_lanes(count - r, columns, [&](int lane) { return right[r + lane]; }, right_columns + r, pitch_, count - r);
    for (int64_t i = 0; i < columns; ++i) pointers[i] = right_columns + i * pitch_;
    for (int64_t g0 = groups.begin; g0 < groups.end; g0 += pack_groups_) {
      const int64_t width = smaller(pack_groups_, groups.end - g0);
      pack_rows_of([&](int64_t r) { return left + r * M; }, count, M, {g0, g0 + width}, pack);
      product<T, 1>(columns, pointers, count, run_, pack, 0, width, Order::kRising,
                    one_by_one([&](int64_t i, int64_t u, const T* sums) {
                      const int64_t j0 = (g0 + u) * W;
                      for (int64_t lane = 0; lane < smaller(W, M - j0); ++lane) {
                        T& value = out[(j0 + lane) * columns + i];
                        value = assign ? sums[lane] : value + sums[lane];
                      }
                    }));
    }
  }

 private:
  template <class Row>
  static void pack_rows_of(const Row& row, int64_t count, int64_t columns, Range groups, T* pack) {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t g = groups.begin; g < groups.end; ++g)
        load_columns(row(r) + g * W, columns - g * W).store(pack + ((g - groups.begin) * count + r) * W);
  }

  const int64_t run_, most_, pitch_;
  const int64_t pack_groups_;  // that are packed together
  const int64_t pointer_pitch_;
  const int64_t most_turned_;
  T* pack_;             // (threads, pack_groups, most, W)
  T* columns_;          // (threads, most_turned, pitch)
  const T** pointers_;  // (threads, pointer_pitch)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
