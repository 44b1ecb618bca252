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

// How many of the numbers 0, 1, .. below count have what only the first of them have.
template <class Has>
FUSEDRNN_INLINE int64_t count_while(int64_t count, Has has) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (has(middle))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
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
    return count_while(rows, [&](int64_t m) { return length[m] > s; });
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

// How a batch is shared out, of which rows may end at different steps. Threads that never wait for one another get as
// much work in all, neighbours of the batch: rows that lie side by side share cache lines, and processors fetch a few
// lines more than were asked for, out of one another's hands. Threads that meet between steps get as much work at each:
// rows are dealt out like cards in order of length.
enum class Deal { kNeighbours, kCards };

// The rows, the groups of units and the groups of outputs of a thread. Besides its position in the order a row has a
// slot in the memory of the pass, where all rows of a thread are neighbours if the rows are split.
struct Share {
  const int64_t* positions;  // rising
  int64_t rows, first_slot, slot_step;
  Range units, outputs;
  int64_t groups;  // of units in all that the thread goes through in a step, where that is more than `units`

  // How many of the first `live` positions are the thread's.
  FUSEDRNN_INLINE int64_t count(int64_t live) const {
    return count_while(rows, [&](int64_t i) { return positions[i] < live; });
  }
  FUSEDRNN_INLINE int64_t position(int64_t i) const { return positions[i]; }
  FUSEDRNN_INLINE int64_t slot(int64_t i) const { return first_slot + i * slot_step; }
};

// Neighbours of the batch with as many steps as those of other threads; a row without any counts, too.
FUSEDRNN_INLINE Range neighbours(const Sizes& sizes, const Extent& extent, int thread, int threads) {
  const auto work = [&](int64_t b) { return 1 + (extent.lengths ? extent.lengths[b] : sizes.T); };
  int64_t total = 0, before = 0;
  for (int64_t b = 0; b < sizes.B; ++b) total += work(b);
  Range range{0, 0};
  for (int64_t b = 0; b < sizes.B; ++b) {
    const int64_t middle = (2 * before + work(b)) * threads;
    if (middle < 2 * total * thread) ++range.begin;
    if (middle < 2 * total * (thread + 1)) ++range.end;
    before += work(b);
  }
  return range;
}

// positions: (B), to be filled.
template <class T>
FUSEDRNN_INLINE Share share_of(const Sizes& sizes, const Plan& plan, const Clock& clock, Deal deal, int threads,
                               int thread, int64_t* positions) {
  Share share{positions, 0, 0, 1, {0, groups_of<T>(sizes.H)}, {0, groups_of<T>(sizes.P)}, 0};
  if (plan.split == Split::kUnits) {
    share.units = part_of(share.units.end, thread, threads);
    share.outputs = part_of(share.outputs.end, thread, threads);
    for (int64_t m = 0; m < sizes.B; ++m) positions[share.rows++] = m;
  } else if (deal == Deal::kCards && clock.extent.lengths != nullptr) {
    share.first_slot = thread * (sizes.B / threads) + smaller(thread, sizes.B % threads);
    for (int64_t m = thread; m < sizes.B; m += threads) positions[share.rows++] = m;
  } else {
    const Range batch = neighbours(sizes, clock.extent, thread, threads);
    share.first_slot = batch.begin;
    for (int64_t m = 0; m < sizes.B; ++m)
      if (batch.begin <= clock.row[m] && clock.row[m] < batch.end) positions[share.rows++] = m;
  }
  return share;
}

// What a thread owns in forward. Split by units, all wait for the slowest: where groups do not come out even, a few
// threads may share each of those left over, by rows.
template <class T>
class Shares {
 public:
  // positions: (2, B), to be filled; (B) is enough where nothing is shared.
  FUSEDRNN_INLINE Shares(const Sizes& sizes, const Plan& plan, const Clock& clock, int threads, int thread,
                         int64_t* positions) {
    Share& own = share_[0];
    own = share_of<T>(sizes, plan, clock, Deal::kNeighbours, threads, thread, positions);
    const int64_t groups = groups_of<T>(sizes.H), even = groups / threads;
    if (plan.left_sharers == 1 || threads < plan.threads) return;
    own.units = {thread * even, (thread + 1) * even};
    own.groups = even + 1;
    if (sizes.P == sizes.H) own.outputs = own.units;
    const int64_t group = even * threads + thread / plan.left_sharers;
    if (group >= groups) return;
    Share& rest = share_[size_++];
    rest = {
        positions + sizes.B, 0, thread % plan.left_sharers, plan.left_sharers, {group, group + 1}, {0, 0}, even + 1};
    // By turns, since rows that end first are the last ones. One group of two rows shares no cache line.
    for (int64_t m = rest.first_slot; m < sizes.B; m += rest.slot_step) positions[sizes.B + rest.rows++] = m;
    if (sizes.P == sizes.H) rest.outputs = rest.units;
  }

  FUSEDRNN_INLINE int size() const { return size_; }
  FUSEDRNN_INLINE const Share& operator[](int n) const { return share_[n]; }
  FUSEDRNN_INLINE const Share* begin() const { return share_; }
  FUSEDRNN_INLINE const Share* end() const { return share_ + size_; }

 private:
  Share share_[2];
  int size_ = 1;
};

// h before step s of position m, (P) values; zeros where there was none or a reset cuts it off.
template <class T>
FUSEDRNN_INLINE const T* output_before(const BackwardProblem<T>& p, const Clock& clock, const T* zeros, int64_t s,
                                       int64_t m) {
  if (clock.cut(s, m)) return zeros;
  if (s > 0) return p.y.at(clock.time_before(clock.time(s, m)), clock.row[m]);
  return p.state_in[0] ? p.state_in[0] + clock.row[m] * p.sizes.P : zeros;
}

// Sets the columns of every row beyond its length to zero; each thread has neighbours of the batch.
template <class T>
FUSEDRNN_INLINE void clear_padding(const Sequence<T>& y, int64_t columns, const Sizes& sizes, const Extent& extent,
                                   int thread, int threads) {
  if (extent.lengths == nullptr) return;
  const Range batch = neighbours(sizes, extent, thread, threads);
  for (int64_t b = batch.begin; b < batch.end; ++b)
    for (int64_t t = extent.lengths[b]; t < sizes.T; ++t) {
      T* out = y.at(t, b);
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
