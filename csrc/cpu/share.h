// What forward and backward have in common: which rows and units a thread owns, and when a row does what.
#pragma once

#include "contract/problem.h"
#include "cpu/pool.h"
#include "cpu/simd.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

using cpu::Carver;
using cpu::Plan;
using cpu::Split;
using cpu::Team;

FUSEDRNN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
FUSEDRNN_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

FUSEDRNN_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
FUSEDRNN_INLINE int64_t groups_of(int64_t columns) {
  return divide_up(columns, Vec<T>::kWidth);
}

// Columns of a row, rounded up to whole vectors.
template <class T>
FUSEDRNN_INLINE int64_t padded(int64_t columns) {
  return groups_of<T>(columns) * Vec<T>::kWidth;
}

template <class T>
FUSEDRNN_INLINE void store_columns(T* p, int64_t live, Vec<T> value) {
  if (live >= Vec<T>::kWidth)
    value.store(p);
  else
    value.store_partial(p, live);
}

template <class T>
FUSEDRNN_INLINE Vec<T> load_columns(const T* p, int64_t live) {
  return live >= Vec<T>::kWidth ? Vec<T>::load(p) : Vec<T>::load_partial(p, live);
}

template <class T>
FUSEDRNN_INLINE T sum_of_lanes(Vec<T> value) {
  T lanes[Vec<T>::kWidth];
  value.store(lanes);
  T total(0);
  for (const T lane : lanes) total += lane;
  return total;
}

// A half-open range.
struct Range {
  int64_t begin, end;
};

FUSEDRNN_INLINE Range part_of(int64_t count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

// When rows live and where in time they are. Step s is counted from where a row starts; m is a position in the order.
struct Clock {
  const Extent& extent;
  const int64_t* row;
  const int64_t* length;
  int64_t rows;

  FUSEDRNN_INLINE int64_t steps() const { return rows == 0 ? 0 : length[0]; }

  // How many rows are longer than s: a prefix of the order, since lengths fall.
  FUSEDRNN_INLINE int64_t live(int64_t s) const {
    if (extent.lengths == nullptr) return s < steps() ? rows : 0;
    int64_t low = 0, high = rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (length[middle] > s)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  FUSEDRNN_INLINE int64_t time(int64_t s, int64_t m) const { return extent.reverse ? length[m] - 1 - s : s; }
  FUSEDRNN_INLINE int64_t time_before(int64_t t) const { return extent.reverse ? t + 1 : t - 1; }

  // Whether the state that enters step s of position m is cut off by a reset.
  FUSEDRNN_INLINE bool cut(int64_t s, int64_t m) const {
    if (!extent.reset) return false;
    const int64_t t = time(s, m);
    if (extent.reverse) return s > 0 && *extent.reset.at(t + 1, row[m]) != 0;
    return *extent.reset.at(t, row[m]) != 0;
  }
};

// What a thread has of things in the order of rows, numbers first, first + stride, .. below end: rows or blocks of
// them. In memory that is ours alone they lie side by side, from number `slot` on.
struct Portion {
  int64_t first, stride, end, slot;

  // How many of the first `live` things are the thread's.
  FUSEDRNN_INLINE int64_t count(int64_t live) const {
    const int64_t last = smaller(live, end);
    return last <= first ? 0 : (last - first + stride - 1) / stride;
  }
};

// Rows of all lengths are dealt out like cards, so that every thread gets long ones and short ones. Where all are
// equally long each thread has neighbours: rows that lie side by side share cache lines, and processors fetch a few
// lines more than were asked for, out of one another's hands.
FUSEDRNN_INLINE Portion portion_of(int64_t count, const Clock& clock, int thread, int threads) {
  const int64_t each = count / threads, more = count % threads;  // the first threads have one more
  const int64_t begin = thread * each + smaller(thread, more), end = begin + each + (thread < more);
  if (clock.extent.lengths != nullptr) return {thread, threads, count, begin};
  return {begin, 1, end, begin};
}

// The rows, the groups of units and the groups of outputs of a thread.
struct Share {
  Portion rows;
  Range units, outputs;

  // How many of the first `live` positions are the thread's.
  FUSEDRNN_INLINE int64_t count(int64_t live) const { return rows.count(live); }
  FUSEDRNN_INLINE int64_t position(int64_t i) const { return rows.first + i * rows.stride; }
  FUSEDRNN_INLINE int64_t slot(int64_t i) const { return rows.slot + i; }
};

template <class T>
FUSEDRNN_INLINE Share share_of(const Sizes& sizes, const Plan& plan, const Clock& clock, const Team& team, int thread) {
  const int threads = team.size();
  const Range units{0, groups_of<T>(sizes.H)}, outputs{0, groups_of<T>(sizes.P)};
  if (plan.split == Split::kUnits)
    return {{0, 1, sizes.B, 0}, part_of(units.end, thread, threads), part_of(outputs.end, thread, threads)};
  return {portion_of(sizes.B, clock, thread, threads), units, outputs};
}

// h before step s of position m, (P) values; zeros where there was none or a reset cuts it off.
template <class T>
FUSEDRNN_INLINE const T* output_before(const BackwardProblem<T>& p, const Clock& clock, const T* zeros, int64_t s,
                                       int64_t m) {
  if (clock.cut(s, m)) return zeros;
  if (s > 0) return p.y.at(clock.time_before(clock.time(s, m)), clock.row[m]);
  return p.state_in[0] ? p.state_in[0] + clock.row[m] * p.sizes.P : zeros;
}

// Sets the columns of every row beyond its length to zero; rows are dealt out among the threads.
template <class T>
FUSEDRNN_INLINE void clear_padding(const Sequence<T>& y, int64_t columns, const Sizes& sizes, const Clock& clock,
                                   int thread, int threads) {
  for (int64_t m = thread; m < sizes.B; m += threads)
    for (int64_t t = clock.length[m]; t < sizes.T; ++t) {
      T* out = y.at(t, clock.row[m]);
      for (int64_t j = 0; j < columns; ++j) out[j] = T(0);
    }
}

// Rows of a state from the caller's (B, columns) array into a padded buffer by slots, for the thread's rows and groups.
template <class T>
FUSEDRNN_INLINE void enter_state(const T* from, T* to, int64_t columns, const Share& share, Range groups,
                                 const Clock& clock) {
  constexpr int W = Vec<T>::kWidth;
  const int64_t pitch = padded<T>(columns);
  for (int64_t i = 0; i < share.count(clock.rows); ++i) {
    const int64_t m = share.position(i);
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      const Vec<T> value =
          from == nullptr ? Vec<T>(0) : load_columns(from + clock.row[m] * columns + g * W, columns - g * W);
      value.store(to + share.slot(i) * pitch + g * W);
    }
  }
}

// The way back: from a padded buffer by slots into the caller's (B, columns) array, for positions from `begin` on.
template <class T>
FUSEDRNN_INLINE void leave_state(const T* from, T* to, int64_t columns, const Share& share, Range groups,
                                 const Clock& clock, int64_t begin) {
  constexpr int W = Vec<T>::kWidth;
  const int64_t pitch = padded<T>(columns);
  for (int64_t i = share.count(begin); i < share.count(clock.rows); ++i) {
    const int64_t m = share.position(i);
    for (int64_t g = groups.begin; g < groups.end; ++g)
      store_columns(to + clock.row[m] * columns + g * W, columns - g * W,
                    Vec<T>::load(from + share.slot(i) * pitch + g * W));
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
