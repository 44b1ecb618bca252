// A plain matrix product on the same tiles, for the layers around the recurrence:
//
//   c[m][n] = sum_k a(m, k) b(k, n)      a(m, k) = a[m * a_row + k * a_column], b likewise
//   row_sums[m] = sum_k a(m, k)
//
// The columns (or, where there are more of them, the rows) are shared out among the threads. Of `b`, kDepth terms of
// kPanels groups of columns are packed at a time; kRows rows of `a` at a time go through all of them, and are copied
// before where their terms do not lie side by side. All of this stays in a core's own cache. Blocks of terms are added
// in rising order, so bits do not depend on the number of threads.
#pragma once

#include "cpu/share.h"
#include "cpu/task.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
class Matmul {
  using V = Vec<T>;
  static constexpr int64_t W = V::kWidth, kDepth = 384, kRows = 192;
  static constexpr int64_t kPitch =
      kDepth + 64 / sizeof(T);  // of copied rows: no two near ones in one set of the cache
  static constexpr int64_t kPanels = 1024 / (W * sizeof(T));

 public:
  explicit Matmul(const cpu::MatmulTask<T>& task) : t_(task), by_rows_(t_.M > groups_of<T>(t_.N) * 8) {
    Carver carver(t_.workspace);
    pack_ = carver.template take<T>(t_.threads * kPanels * kDepth * W);
    copy_ = carver.template take<T>(t_.a_column == 1 ? 0 : t_.threads * kRows * kPitch);
    pointers_ = carver.template take<const T*>(t_.threads * kRows);
    workspace_bytes_ = carver.used();
  }

  size_t workspace_bytes() const { return workspace_bytes_; }

  void run(Team& team, int thread) const {
    const int64_t groups = groups_of<T>(t_.N);
    const Range rows = by_rows_ ? part_of(t_.M, thread, team.size()) : Range{0, t_.M};
    const Range own = by_rows_ ? Range{0, groups} : part_of(groups, thread, team.size());
    const bool summing = t_.row_sums && (by_rows_ || thread == 0);
    if (rows.begin == rows.end || (own.begin == own.end && !summing)) return;
    const int64_t blocks = larger((own.end - own.begin + kPanels - 1) / kPanels, 1);  // one for the sums at least
    for (int64_t k0 = 0; k0 < larger(t_.K, 1); k0 += kDepth)
      for (int64_t block = 0; block < blocks; ++block) {
        const Range part = part_of(own.end - own.begin, static_cast<int>(block), static_cast<int>(blocks));
        multiply(rows, {own.begin + part.begin, own.begin + part.end}, k0, smaller(kDepth, t_.K - k0),
                 summing && block == 0, team, thread);
      }
  }

 private:
  void multiply(Range rows, Range groups, int64_t k0, int64_t depth, bool summing, Team& team, int thread) const {
    T* pack = pack_ + thread * kPanels * kDepth * W;
    const T** pointers = pointers_ + thread * kRows;
    if (!team.going()) return;
    pack_b(groups, k0, depth, pack);
    for (int64_t m0 = rows.begin; m0 < rows.end; m0 += kRows) {
      const int64_t count = smaller(kRows, rows.end - m0);
      if (t_.a_column == 1)
        for (int64_t r = 0; r < count; ++r) pointers[r] = t_.a + (m0 + r) * t_.a_row + k0;
      else
        copy_a(m0, count, k0, depth, copy_ + thread * kRows * kPitch, pointers);
      if (summing) add_rows(m0, count, k0, depth, pointers);
      product<T, 1>(count, pointers, depth, run_of(t_.N), pack, 0, groups.end - groups.begin, Order::kRising,
                    one_by_one([&](int64_t r, int64_t u, const T* sums) {
                      const int64_t j = (groups.begin + u) * W, columns = t_.N - j;
                      T* out = t_.c + (m0 + r) * t_.N + j;
                      V sum = V::load(sums);
                      ask_for_next_tile(out, t_.N);
                      if (k0 > 0 || t_.add)
                        sum = sum + load_columns(out, columns);
                      else if (t_.bias)
                        sum = sum + load_columns(t_.bias + j, columns);
                      store_columns(out, columns, sum);
                    }));
      team.worked(thread, static_cast<double>(count * depth * larger(groups.end - groups.begin, 1)));
      if (!team.going()) return;
    }
  }

  // pack[u][k][lane] = b(k0 + k, (begin + u) * W + lane)
  void pack_b(Range groups, int64_t k0, int64_t depth, T* pack) const {
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      T* panel = pack + (g - groups.begin) * depth * W;
      const int64_t j = g * W, columns = smaller(W, t_.N - j);
      if (t_.b_column == 1) {
        for (int64_t k = 0; k < depth; ++k) load_columns(t_.b + (k0 + k) * t_.b_row + j, columns).store(panel + k * W);
        continue;
      }
      transpose(t_.b + j * t_.b_column + k0, t_.b_column, columns, depth, panel, W, W);
    }
  }

  // Rows of `a` whose terms lie apart, made contiguous.
  void copy_a(int64_t m0, int64_t count, int64_t k0, int64_t depth, T* copy, const T** pointers) const {
    const T* from = t_.a + m0 * t_.a_row + k0 * t_.a_column;
    for (int64_t r = 0; r < count; ++r) pointers[r] = copy + r * kPitch;
    if (t_.a_row == 1) return transpose(from, t_.a_column, depth, count, copy, kPitch, depth, true);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t k = 0; k < depth; ++k) copy[r * kPitch + k] = from[r * t_.a_row + k * t_.a_column];
  }

  void add_rows(int64_t m0, int64_t count, int64_t k0, int64_t depth, const T* const* pointers) const {
    for (int64_t r = 0; r < count; ++r) {
      V lanes(0);
      for (int64_t k = 0; k < depth; k += W) lanes = lanes + load_columns(pointers[r] + k, depth - k);
      T* out = t_.row_sums + m0 + r;
      *out = sum_of_lanes(lanes) + (k0 > 0 || t_.add ? *out : T(0));
    }
  }

  const cpu::MatmulTask<T>& t_;
  const bool by_rows_;
  T* pack_;             // (threads, kPanels, kDepth, W)
  T* copy_;             // (threads, kRows, kPitch)
  const T** pointers_;  // (threads, kRows)
  size_t workspace_bytes_;
};

}  // namespace fusedrnn::FUSEDRNN_ISA
