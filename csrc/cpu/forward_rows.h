// Forward through time with rows in lanes: where a layer has so few units that a vector of them would be half empty, a
// vector holds one unit of W rows.
//
// A block is W rows, neighbours in the order (cpu/rows.h); its values are columns, value[column][lane]. The tile
// (cpu/tile.h) multiplies the same way, with the roles changed: its rows are rows of the weights, its panels blocks.
// Every sum has its terms in the same order, so bits are those of units in lanes. A thread takes a few blocks through
// all steps, then the next few.
#pragma once

#include "cpu/kept.h"
#include "cpu/lanes.h"
#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class ForwardOfRows {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;

 public:
  explicit ForwardOfRows(const cpu::ForwardTask<T>& task)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_{p_.extent, task.row, task.length, sizes_.B},
        gates_(G * sizes_.H),
        run_(run_of(gates_)),
        kept_{p_.saved, 0, {}, sizes_.B, sizes_.H},
        carver_(task.workspace) {
    const int threads = task.plan.threads;
    ih_ = {carver_, gates_, task.weights.w_ih, sizes_.I};
    hh_ = {carver_, gates_, task.weights.w_hh, sizes_.P};
    hr_ = {carver_, task.weights.w_hr ? sizes_.P : 0, task.weights.w_hr, sizes_.H};
    x_ = {carver_, threads, p_.ids ? 0 : sizes_.I};
    gx_ = {carver_, threads, gates_};
    gh_ = {carver_, threads, gates_};
    h_ = {carver_, threads, sizes_.P};
    states_ = {carver_, threads, (S - 1) * sizes_.H};
    saved_ = {carver_, threads, p_.keep ? K * sizes_.H : 0};
    output_ = {carver_, threads, sizes_.H};
  }

  size_t workspace_bytes() const { return carver_.used(); }

  void run(Team& team, int thread) const {
    clear_padding(p_.y, sizes_.P, sizes_, p_.extent, thread, team.size());
    if (thread == 0) fill_pointers();
    team.barrier();
    for (Bundle<T> bundle(clock_, thread, team.size()); bundle.count > 0; bundle.next()) {
      enter(bundle, thread);
      for (int64_t s = 0, steps = clock_.length[bundle.first_row(0)]; s < steps; ++s) {
        if (p_.checkpoints.enters(s, clock_.steps())) keep_states(s, bundle, thread);
        step(s, bundle, thread);
        team.worked(thread, task_.plan.step_cycles * bundle.share(team));
        if (!team.going()) return;
      }
    }
  }

 private:
  void fill_pointers() const { ih_.fill(), hh_.fill(), hr_.fill(); }

  // States move in; those of rows without any step move out again.
  void enter(const Bundle<T>& bundle, int thread) const {
    for (int u = 0; u < bundle.count; ++u) {
      load_state(p_.state_in[0], sizes_.P, clock_, bundle, u, h_.at(thread, u));
      for (int k = 1; k < S; ++k)
        load_state(p_.state_in[k], sizes_.H, clock_, bundle, u, states_.at(thread, u) + (k - 1) * sizes_.H * W);
      for (int lane = 0; lane < bundle.rows(u); ++lane)
        if (clock_.length[bundle.first_row(u) + lane] == 0) leave(bundle, u, lane, thread);
    }
  }

  // The states of one row after its last step.
  void leave(const Bundle<T>& bundle, int u, int lane, int thread) const {
    const int64_t b = clock_.row[bundle.first_row(u) + lane];
    const T* h = h_.at(thread, u) + lane;
    for (int64_t j = 0; j < sizes_.P; ++j) p_.state_out[0][b * sizes_.P + j] = h[j * W];
    for (int k = 1; k < S; ++k) {
      const T* state = states_.at(thread, u) + (k - 1) * sizes_.H * W + lane;
      for (int64_t j = 0; j < sizes_.H; ++j) p_.state_out[k][b * sizes_.H + j] = state[j * W];
    }
  }

  void keep_states(int64_t s, const Bundle<T>& bundle, int thread) const {
    for (int k = 1; k < S; ++k) {
      T* to = p_.checkpoints.entering(k, s, clock_.steps(), sizes_, S);
      for (int u = 0; u < bundle.count; ++u)
        out_of_lanes(bundle.rows(u), sizes_.H, states_.at(thread, u) + (k - 1) * sizes_.H * W,
                     [&](int lane) { return to + clock_.row[bundle.first_row(u) + lane] * sizes_.H; });
    }
  }

  void step(int64_t s, const Bundle<T>& bundle, int thread) const {
    const int64_t live = clock_.live(s);
    const int blocks = bundle.live_blocks(live);
    for (int u = 0; u < blocks; ++u) {
      cut_states(s, bundle, u, live, thread);
      load_input(s, bundle, u, live, thread);
    }
    const auto sums_to = [&](const Blocks<T>& to, const T* bias) {
      return one_by_one([&to, bias, thread](int64_t r, int64_t u, const T* sums) {
        (V::load(sums) + V(bias ? bias[r] : T(0))).store(to.at(thread, u) + r * W);
      });
    };
    if (!p_.ids)
      product<T, 1>(gates_, ih_.rows, sizes_.I, run_, x_.at(thread, 0), 0, blocks, Order::kRising,
                    sums_to(gx_, task_.weights.b_ih));
    product<T, 1>(gates_, hh_.rows, sizes_.P, run_, h_.at(thread, 0), 0, blocks, Order::kRising,
                  sums_to(gh_, task_.weights.b_hh));
    for (int64_t j = 0; j < sizes_.H; ++j) {
      int u = 0;
      for (; u + 2 <= blocks; u += 2) run_cell<Two<T>, 2>(j, u, thread);
      if (u < blocks) run_cell<V, 1>(j, u, thread);
    }
    if (hr_.rows)
      product<T, 1>(
          sizes_.P, hr_.rows, sizes_.H, run_, output_.at(thread, 0), 0, blocks, Order::kRising,
          one_by_one([&](int64_t r, int64_t u, const T* sums) { V::load(sums).store(h_.at(thread, u) + r * W); }));
    for (int u = 0; u < blocks; ++u) put_out(s, bundle, u, live, thread);
  }

  // What a reset cuts off is zero.
  void cut_states(int64_t s, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    if (!p_.extent.reset) return;
    for (int lane = 0; lane < bundle.rows(u, live); ++lane)
      if (clock_.cut(s, bundle.first_row(u) + lane)) {
        clear_lane(h_.at(thread, u), sizes_.P, lane);
        clear_lane(states_.at(thread, u), (S - 1) * sizes_.H, lane);
      }
  }

  void load_input(int64_t s, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t rows = bundle.rows(u, live), m = bundle.first_row(u);
    if (!p_.ids) {
      into_lanes(
          rows, sizes_.I, [&](int lane) { return p_.x.at(clock_.time(s, m + lane), clock_.row[m + lane]); },
          x_.at(thread, u), W, W);
      return;
    }
    // The input product of a one-hot row is a column of W_ih.
    for (int lane = 0; lane < rows; ++lane) {
      const int64_t id = *p_.ids.at(clock_.time(s, m + lane), clock_.row[m + lane]);
      T* gx = gx_.at(thread, u) + lane;
      for (int64_t r = 0; r < gates_; ++r)
        gx[r * W] = task_.weights.w_ih[r * sizes_.I + id] + (task_.weights.b_ih ? task_.weights.b_ih[r] : T(0));
    }
  }

  // Unit j of N blocks; Values holds N vectors.
  template <class Values, int N>
  FUSEDRNN_INLINE void run_cell(int64_t j, int u, int thread) const {
    Values gx[G], gh[G], before[S], after[S], saved[K > 0 ? K : 1];
    for (int n = 0; n < N; ++n) {
      for (int q = 0; q < G; ++q) {
        part(gx[q], n) = V::load(gx_.at(thread, u + n) + (q * sizes_.H + j) * W);
        part(gh[q], n) = V::load(gh_.at(thread, u + n) + (q * sizes_.H + j) * W);
      }
      part(before[0], n) = Cell::kReadsOutput ? V::load(h_.at(thread, u + n) + j * W) : V(0);
      for (int k = 1; k < S; ++k)
        part(before[k], n) = V::load(states_.at(thread, u + n) + ((k - 1) * sizes_.H + j) * W);
    }

    Cell::forward(gx, gh, before, after, saved);

    for (int n = 0; n < N; ++n) {
      part(after[0], n).store((hr_.rows ? output_ : h_).at(thread, u + n) + j * W);
      for (int k = 1; k < S; ++k) part(after[k], n).store(states_.at(thread, u + n) + ((k - 1) * sizes_.H + j) * W);
      if (p_.keep)
        for (int k = 0; k < K; ++k) part(saved[k], n).store(saved_.at(thread, u + n) + (k * sizes_.H + j) * W);
    }
  }

  void put_out(int64_t s, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t rows = bundle.rows(u, live), m = bundle.first_row(u);
    const auto row = [&](int lane) { return clock_.row[m + lane]; };
    out_of_lanes(rows, sizes_.P, h_.at(thread, u),
                 [&](int lane) { return p_.y.at(clock_.time(s, m + lane), row(lane)); });
    if (p_.keep) {
      out_of_lanes(rows, K * sizes_.H, saved_.at(thread, u), [&](int lane) { return kept_.gates(s, row(lane)); });
      out_of_lanes(rows, (S - 1) * sizes_.H, states_.at(thread, u),
                   [&](int lane) { return kept_.states(s, row(lane)); });
      if (hr_.rows)
        out_of_lanes(rows, sizes_.H, output_.at(thread, u), [&](int lane) { return kept_.raw(s, row(lane)); });
    }
    for (int lane = 0; lane < rows; ++lane)
      if (s + 1 == clock_.length[m + lane]) leave(bundle, u, lane, thread);
  }

  const cpu::ForwardTask<T>& task_;
  const ForwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock clock_;
  const int64_t gates_;            // G*H
  const int64_t run_;              // of the sums, see cpu/tile.h
  const KeptSteps<Cell, T> kept_;  // where all steps are kept, unless that is segment by segment
  Carver carver_;
  RowPointers<T> ih_, hh_, hr_;  // rows of the weights; none of hr without a projection
  Blocks<T> x_, gx_, gh_;        // of one step
  Blocks<T> h_, states_;         // states 1.. one after the other
  Blocks<T> saved_, output_;     // of the cells; the output before a projection
};

}  // namespace fusedrnn::FUSEDRNN_ISA
