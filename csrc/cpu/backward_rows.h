// The steps of backward with rows in lanes: a vector holds one unit of W rows, see cpu/forward_rows.h. Gate gradients
// leave row by row, as cpu/gradients.h takes them. A thread takes a few blocks through a chunk, then the next few.
#pragma once

#include "cpu/gradients.h"
#include "cpu/kept.h"
#include "cpu/lanes.h"
#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class BackwardOfRows {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  using Kept = KeptSteps<Cell, const T>;

 public:
  static constexpr bool kReadsOthers = true;  // recomputation deals the rows out in another way

  BackwardOfRows(const cpu::BackwardTask<T>& task, const Clock& clock, const T* zeros,
                 const ChunkGradients<Cell, T>& chunk, Carver& carver)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_(clock),
        chunk_(chunk),
        zeros_(zeros),
        gates_(G * sizes_.H),
        run_(run_of(gates_)) {
    const int threads = task.plan.threads;
    const int64_t rows = divide_up(sizes_.B, W) * W, states = (S - 1) * sizes_.H;
    const int64_t raw = task.weights.w_hr ? sizes_.H : 0, outputs = Cell::kReadsOutput ? sizes_.P : 0;
    const int64_t inputs = p_.dx ? sizes_.I : 0;
    hh_columns_ = carver.template take<T>(sizes_.P * gates_);
    hr_columns_ = carver.template take<T>(raw * sizes_.P);
    ih_columns_ = carver.template take<T>(inputs * gates_);
    hh_ = {carver, sizes_.P, hh_columns_, gates_};
    hr_ = {carver, raw, hr_columns_, sizes_.P};
    ih_ = {carver, inputs, ih_columns_, gates_};
    dh_ = carver.template take<T>(rows * sizes_.P);
    dstates_ = carver.template take<T>(rows * states);
    doutput_ = {carver, threads, sizes_.P};
    dunit_ = {carver, threads, raw};
    saved_ = {carver, threads, K * sizes_.H};
    before_ = {carver, threads, states};
    after_ = {carver, threads, states};
    output_before_ = {carver, threads, outputs};
    output_after_ = {carver, threads, outputs};
    dx_ = {carver, threads, inputs};
    dgx_ = {carver, threads, gates_};
    dgh_ = Cell::kOneGateGradient ? dgx_ : Blocks<T>{carver, threads, gates_};
  }

  // The gradients of the states after the last step move in.
  void start(const Share&, Team& team, int thread) const {
    if (thread == 0) turn_weights();
    for (Bundle<T> bundle(clock_, thread, team.size()); bundle.count > 0; bundle.next())
      for (int u = 0; u < bundle.count; ++u) {
        load_state(p_.dstate_out[0], sizes_.P, clock_, bundle, u, dh(bundle, u));
        for (int k = 1; k < S; ++k)
          load_state(p_.dstate_out[k], sizes_.H, clock_, bundle, u, dstates(bundle, u) + (k - 1) * sizes_.H * W);
      }
  }

  // Steps [s0, s1), one chunk of `count` rows; ends early when the work was stopped.
  void go_back(const Kept& kept, int64_t s0, int64_t s1, int64_t count, const Share&, Team& team, int thread) const {
    for (Bundle<T> bundle(clock_, thread, team.size()); bundle.count > 0; bundle.next()) {
      int64_t first_row = count;
      for (int64_t s = s1 - 1; s >= s0; --s) {
        const int64_t live = clock_.live(s);
        first_row -= live;
        if (bundle.live_blocks(live) > 0) step(kept, s, live, first_row, bundle, thread);
        team.worked(thread, task_.plan.step_cycles * bundle.share(team));
        if (!team.going()) return;
      }
    }
  }

  // Those of the states before the first step move out.
  void end(const Share&, Team& team, int thread) const {
    for (Bundle<T> bundle(clock_, thread, team.size()); bundle.count > 0; bundle.next())
      for (int u = 0; u < bundle.count; ++u) {
        put_state(dh(bundle, u), sizes_.P, bundle, u, p_.dstate_in[0]);
        for (int k = 1; k < S; ++k)
          put_state(dstates(bundle, u) + (k - 1) * sizes_.H * W, sizes_.H, bundle, u, p_.dstate_in[k]);
      }
  }

 private:
  // [column][lane] of a block
  T* dh(const Bundle<T>& bundle, int64_t u) const { return dh_ + bundle.first_row(u) * sizes_.P; }
  T* dstates(const Bundle<T>& bundle, int64_t u) const { return dstates_ + bundle.first_row(u) * (S - 1) * sizes_.H; }

  // Columns of the weights become rows.
  void turn_weights() const {
    transpose(task_.weights.w_hh, sizes_.P, gates_, sizes_.P, hh_columns_, gates_, gates_);
    hh_.fill();
    if (p_.dx) transpose(task_.weights.w_ih, sizes_.I, gates_, sizes_.I, ih_columns_, gates_, gates_);
    ih_.fill();
    if (task_.weights.w_hr == nullptr) return;
    transpose(task_.weights.w_hr, sizes_.H, sizes_.P, sizes_.H, hr_columns_, sizes_.P, sizes_.P);
    hr_.fill();
  }

  void put_state(const T* from, int64_t columns, const Bundle<T>& bundle, int u, T* to) const {
    out_of_lanes(bundle.rows(u), columns, from,
                 [&](int lane) { return to + clock_.row[bundle.first_row(u) + lane] * columns; });
  }

  void step(const Kept& kept, int64_t s, int64_t live, int64_t first_row, const Bundle<T>& bundle, int thread) const {
    const int blocks = bundle.live_blocks(live);
    for (int u = 0; u < blocks; ++u) {
      load_kept(kept, s, bundle, u, live, thread);
      add_output_gradient(s, bundle, u, live, thread);
    }
    if (hr_.rows) {
      for (int u = 0; u < blocks; ++u)
        out_of_lanes(bundle.rows(u, live), sizes_.P, doutput_.at(thread, u),
                     [&](int lane) { return chunk_.doutput(first_row + bundle.first_row(u) + lane); });
      product<T, 1>(
          sizes_.H, hr_.rows, sizes_.P, run_, doutput_.at(thread, 0), 0, blocks, Order::kRising,
          one_by_one([&](int64_t r, int64_t u, const T* sums) { V::load(sums).store(dunit_.at(thread, u) + r * W); }));
    }
    for (int u = 0; u < blocks; ++u) {
      for (int64_t j = 0; j < sizes_.H; ++j) undo_unit(j, bundle, u, live, thread);
      put_gradients(first_row, bundle, u, live, thread);
    }
    // gh = W_hh h + b_hh
    product<T, 1>(sizes_.P, hh_.rows, gates_, run_, dgh_.at(thread, 0), 0, blocks, Order::kRising,
                  one_by_one([&](int64_t r, int64_t u, const T* sums) {
                    T* at = dh(bundle, u) + r * W;
                    const V direct = Cell::kReadsOutput ? V::load(at) : V(0);
                    store_columns(at, bundle.rows(u, live), direct + V::load(sums));
                  }));
    for (int u = 0; u < blocks; ++u) cut_gradients(s, bundle, u, live);
    if (p_.dx) input_gradient(s, live, bundle, thread);
  }

  void load_kept(const Kept& kept, int64_t s, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t rows = bundle.rows(u, live), m = bundle.first_row(u), H = sizes_.H;
    const auto row = [&](int lane) { return clock_.row[m + lane]; };
    into_lanes(rows, K * H, [&](int lane) { return kept.gates(s, row(lane)); }, saved_.at(thread, u), W, W);
    into_lanes(rows, (S - 1) * H, [&](int lane) { return kept.states(s, row(lane)); }, after_.at(thread, u), W, W);
    for (int k = 1; k < S; ++k)
      into_lanes(
          rows, H,
          [&](int lane) {
            const T* before = clock_.cut(s, m + lane) ? nullptr : kept.before(k, s, row(lane));
            return before ? before : zeros_;
          },
          before_.at(thread, u) + (k - 1) * H * W, W, W);
    if (!Cell::kReadsOutput) return;
    into_lanes(
        rows, sizes_.P, [&](int lane) { return output_before(p_, clock_, zeros_, s, m + lane); },
        output_before_.at(thread, u), W, W);
    into_lanes(
        rows, sizes_.P, [&](int lane) { return p_.y.at(clock_.time(s, m + lane), row(lane)); },
        output_after_.at(thread, u), W, W);
  }

  // The gradient of y and that of h, which come together in dy + dh.
  void add_output_gradient(int64_t s, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t m = bundle.first_row(u);
    T* out = doutput_.at(thread, u);
    into_lanes(
        p_.dy ? bundle.rows(u, live) : 0, sizes_.P,
        [&](int lane) { return p_.dy.at(clock_.time(s, m + lane), clock_.row[m + lane]); }, out, W, W);
    const T* dh_after = dh(bundle, u);
    for (int64_t at = 0; at < sizes_.P * W; at += W) (V::load(dh_after + at) + V::load(out + at)).store(out + at);
  }

  // The cell backwards for unit j of one block. Rows that have ended keep what the caller gave for their end.
  FUSEDRNN_INLINE void undo_unit(int64_t j, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t rows = bundle.rows(u, live), H = sizes_.H;
    V saved[K > 0 ? K : 1], before[S], after[S], dafter[S], dgx[G], dgh[G], dbefore[S];
    for (int k = 0; k < K; ++k) saved[k] = V::load(saved_.at(thread, u) + (k * H + j) * W);
    before[0] = Cell::kReadsOutput ? V::load(output_before_.at(thread, u) + j * W) : V(0);
    after[0] = Cell::kReadsOutput ? V::load(output_after_.at(thread, u) + j * W) : V(0);
    dafter[0] = V::load((hr_.rows ? dunit_ : doutput_).at(thread, u) + j * W);
    for (int k = 1; k < S; ++k) {
      before[k] = V::load(before_.at(thread, u) + ((k - 1) * H + j) * W);
      after[k] = V::load(after_.at(thread, u) + ((k - 1) * H + j) * W);
      dafter[k] = V::load(dstates(bundle, u) + ((k - 1) * H + j) * W);
    }

    Cell::backward(saved, before, after, dafter, dgx, dgh, dbefore);

    for (int q = 0; q < G; ++q) {
      dgx[q].store(dgx_.at(thread, u) + (q * H + j) * W);
      if (!Cell::kOneGateGradient) dgh[q].store(dgh_.at(thread, u) + (q * H + j) * W);
    }
    if (Cell::kReadsOutput) store_columns(dh(bundle, u) + j * W, rows, dbefore[0]);
    for (int k = 1; k < S; ++k) store_columns(dstates(bundle, u) + ((k - 1) * H + j) * W, rows, dbefore[k]);
  }

  void put_gradients(int64_t first_row, const Bundle<T>& bundle, int u, int64_t live, int thread) const {
    const int64_t rows = bundle.rows(u, live), r = first_row + bundle.first_row(u);
    out_of_lanes(rows, gates_, dgx_.at(thread, u), [&](int lane) { return chunk_.dgx(r + lane); });
    if (!Cell::kOneGateGradient)
      out_of_lanes(rows, gates_, dgh_.at(thread, u), [&](int lane) { return chunk_.dgh(r + lane); });
  }

  // dx = dgx W_ih
  void input_gradient(int64_t s, int64_t live, const Bundle<T>& bundle, int thread) const {
    const int blocks = bundle.live_blocks(live);
    product<T, 1>(
        sizes_.I, ih_.rows, gates_, run_, dgx_.at(thread, 0), 0, blocks, Order::kRising,
        one_by_one([&](int64_t i, int64_t u, const T* sums) { V::load(sums).store(dx_.at(thread, u) + i * W); }));
    for (int u = 0; u < blocks; ++u) {
      const int64_t m = bundle.first_row(u);
      out_of_lanes(bundle.rows(u, live), sizes_.I, dx_.at(thread, u),
                   [&](int lane) { return p_.dx.at(clock_.time(s, m + lane), clock_.row[m + lane]); });
    }
  }

  // Nothing flows back through a reset.
  void cut_gradients(int64_t s, const Bundle<T>& bundle, int u, int64_t live) const {
    if (!p_.extent.reset) return;
    for (int lane = 0; lane < bundle.rows(u, live); ++lane)
      if (clock_.cut(s, bundle.first_row(u) + lane)) {
        clear_lane(dh(bundle, u), sizes_.P, lane);
        clear_lane(dstates(bundle, u), (S - 1) * sizes_.H, lane);
      }
  }

  const cpu::BackwardTask<T>& task_;
  const BackwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock& clock_;
  const ChunkGradients<Cell, T>& chunk_;
  const T* zeros_;                  // a state that was None or reset
  const int64_t gates_;             // G*H, a row of gate gradients
  const int64_t run_;               // of the sums, see cpu/tile.h
  T* hh_columns_;                   // (P, G*H)
  T* ih_columns_;                   // (I, G*H), where dx is wanted
  T* hr_columns_;                   // (H, P)
  RowPointers<T> hh_, ih_, hr_;     // their rows; none of hr without a projection
  T* dh_;                           // (B, P), by blocks, as are the next
  T* dstates_;                      // (B, (S - 1) * H)
  Blocks<T> dx_, doutput_, dunit_;  // dy + dh, and with a projection W_hr^T of it; all of one step from here on
  Blocks<T> saved_, before_, after_;
  Blocks<T> output_before_, output_after_;
  Blocks<T> dgx_, dgh_;  // the same place when the cell has one gate gradient
};

}  // namespace fusedrnn::FUSEDRNN_ISA
