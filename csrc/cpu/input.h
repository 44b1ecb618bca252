// The input products of a chunk of steps, gx = W_ih x + b_ih: a thread makes those of its rows and units, and they stay
// in its cache.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"

namespace fusedrnn::FUSEDRNN_ISA {

// The problem is forward or backward: both say sizes, x and ids.
template <class Cell, class T>
class InputProducts {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates;

 public:
  template <class Problem>
  InputProducts(const Problem& problem, const cpu::ForwardPanels<T>& panels, const Clock& clock, const Plan& plan,
                Carver& carver)
      : sizes_(problem.sizes),
        x_(problem.x),
        ids_(problem.ids),
        panels_(panels),
        clock_(clock),
        most_(plan.chunk_steps * sizes_.B),
        pitch_(padded<T>(sizes_.H) * G) {
    gx_ = carver.template take<T>(most_ * pitch_);
    x_rows_ = carver.template take<const T*>(plan.threads * most_);
    gx_rows_ = carver.template take<T*>(plan.threads * most_);
  }

  // [group][gate][lane] of a row of the chunk
  T* at(int64_t chunk_step, int64_t slot) const { return gx_ + (chunk_step * sizes_.B + slot) * pitch_; }

  // Those of steps [s0, s1), a chunk at most, for the thread's rows and units.
  void make(int64_t s0, int64_t s1, const Share& share, int thread, Order order) const {
    const T** x_rows = x_rows_ + thread * most_;
    T** gx_rows = gx_rows_ + thread * most_;
    int64_t count = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t live = share.count(clock_.live(s));
      for (int64_t i = 0; i < live; ++i, ++count) {
        const int64_t m = share.position(i), t = clock_.time(s, m), b = clock_.row[m];
        gx_rows[count] = at(s - s0, share.slot(i));
        if (ids_)
          look_up(*ids_.at(t, b), gx_rows[count], share.units);
        else
          x_rows[count] = x_.at(t, b);
      }
    }
    if (ids_) return;
    product<T, G>(count, x_rows, sizes_.I, run_of(sizes_.H * G), panels_.ih, share.units.begin, share.units.end,
                  {order, sizes_.H, share.groups},
                  one_by_one([&](int64_t r, int64_t g, const T* sums) { add_bias(sums, g, gx_rows[r]); }));
  }

 private:
  void add_bias(const T* sums, int64_t g, T* gx) const {
    for (int64_t q = 0; q < G; ++q) {
      const int64_t at = (g * G + q) * W;
      (V::load(sums + q * W) + V::load(panels_.b_ih + at)).store(gx + at);
    }
  }

  // The input product of a one-hot row is a column of W_ih.
  void look_up(int64_t id, T* gx, Range units) const {
    for (int64_t g = units.begin; g < units.end; ++g) add_bias(panels_.ih + (g * sizes_.I + id) * G * W, g, gx);
  }

  const Sizes sizes_;
  const Sequence<const T> x_;
  const Sequence<const int64_t> ids_;
  const cpu::ForwardPanels<T>& panels_;
  const Clock clock_;
  const int64_t most_;   // rows of a chunk
  const int64_t pitch_;  // of a row of gx
  T* gx_;                // (chunk_steps, B, pitch)
  const T** x_rows_;     // (threads, most)
  T** gx_rows_;          // (threads, most)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
