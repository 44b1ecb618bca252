// Forward through time, one layer, one direction, with units in lanes: a vector holds W units of one row.
//
// Steps are taken in chunks. For a chunk a thread first makes the input products gx of its rows and units. Then, step
// by step, the recurrent products gh, tile by tile, each followed at once by the cell:
//
//   gx = W_ih x_t + b_ih        gh = W_hh h + b_hh
//   h', c', .. = cell(gx, gh, h, c, ..)             y_t = h' or W_hr h'
//
// Split by rows, a thread goes through all steps without waiting. Split by units, all threads meet after every step.
#pragma once

#include "cpu/cell_rows.h"
#include "cpu/input.h"
#include "cpu/kept.h"
#include "cpu/share.h"
#include "cpu/tile.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class ForwardOfUnits {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates;

  struct StepRow : CellRow<Cell, T> {
    T* h_next;    // (P padded)
    T* raw;       // output before the projection, (H padded)
    T* y;         // (P)
    T* kept_raw;  // (H), nullptr without projection
  };

 public:
  explicit ForwardOfUnits(const cpu::ForwardTask<T>& task)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_{p_.extent, task.row, task.length, sizes_.B},
        hidden_(padded<T>(sizes_.H)),
        outputs_(padded<T>(sizes_.P)),
        run_(run_of(sizes_.H * G)),
        shares_(task.plan.left_sharers > 1 ? 2 : 1),
        kept_{p_.saved, 0, {}, sizes_.B, sizes_.H},
        carver_(task.workspace),
        input_(p_, task.panels, clock_, task.plan, carver_) {
    h_[0] = carver_.template take<T>(sizes_.B * outputs_);
    h_[1] = carver_.template take<T>(sizes_.B * outputs_);
    for (int k = 1; k < S; ++k) state_[k] = carver_.template take<T>(sizes_.B * hidden_);
    zeros_ = carver_.template take<T>(larger(hidden_, outputs_));
    raw_ = task.panels.hr ? carver_.template take<T>(sizes_.B * hidden_) : nullptr;
    positions_ = carver_.template take<int64_t>(task.plan.threads * shares_ * sizes_.B);
    step_rows_ = carver_.template take<StepRow>(task.plan.threads * shares_ * sizes_.B);
    pointers_ = carver_.template take<const T*>(task.plan.threads * sizes_.B);
  }

  size_t workspace_bytes() const { return carver_.used(); }

  void run(Team& team, int thread) const {
    const Shares<T> shares(sizes_, task_.plan, clock_, team.size(), thread, positions_ + thread * shares_ * sizes_.B);
    for (int64_t j = thread; j < larger(hidden_, outputs_); j += team.size()) zeros_[j] = T(0);
    clear_padding(p_.y, sizes_.P, sizes_, p_.extent, thread, team.size());
    for (const Share& share : shares) enter(share);
    team.barrier();
    const int64_t steps = clock_.steps();
    for (int64_t s0 = 0; s0 < steps; s0 += task_.plan.chunk_steps) {
      const int64_t s1 = smaller(s0 + task_.plan.chunk_steps, steps);
      if (task_.input_progress && !task_.input_progress->wait(s1, team, task_.plan.split == Split::kUnits)) return;
      for (const Share& share : shares) input_.make(s0, s1, share, thread, by_turns(task_.turn));
      for (int64_t s = s0; s < s1; ++s) {
        if (p_.checkpoints.enters(s, clock_.steps()))
          for (const Share& share : shares) keep_states(s, share);
        if (!step(s, s - s0, shares, team, thread)) return;
      }
      if (task_.progress) task_.progress->reached(s1, team, thread);
    }
  }

 private:
  // States move in; those of rows without any step move out again.
  void enter(const Share& share) const {
    enter_state(p_.state_in[0], h_[0], sizes_.P, share, share.outputs, clock_);
    for (int k = 1; k < S; ++k) enter_state(p_.state_in[k], state_[k], sizes_.H, share, share.units, clock_);
    const int64_t begin = clock_.live(0);
    leave_state(h_[0], p_.state_out[0], sizes_.P, share, share.outputs, clock_, begin);
    for (int k = 1; k < S; ++k) leave_state(state_[k], p_.state_out[k], sizes_.H, share, share.units, clock_, begin);
  }

  void keep_states(int64_t s, const Share& share) const {
    for (int k = 1; k < S; ++k)
      leave_state(state_[k], p_.checkpoints.entering(k, s, clock_.steps(), sizes_, S), sizes_.H, share, share.units,
                  clock_, 0);
  }

  // False when the work was stopped.
  bool step(int64_t s, int64_t chunk_step, const Shares<T>& shares, Team& team, int thread) const {
    const Order order = by_turns(task_.turn + s);
    for (int k = 0; k < shares.size(); ++k) {
      const int n = order == Order::kRising ? k : shares.size() - 1 - k;
      const int64_t live = shares[n].count(clock_.live(s));
      StepRow* rows = rows_of(n, thread);
      for (int64_t i = 0; i < live; ++i) rows[i] = step_row(s, chunk_step, shares[n].position(i), shares[n].slot(i));
      run_units(order, shares[n], rows, live, thread);
    }
    if (task_.panels.hr) {
      if (task_.plan.split == Split::kUnits) team.barrier();
      for (int n = 0; n < shares.size(); ++n)
        project(order, shares[n], rows_of(n, thread), shares[n].count(clock_.live(s)), thread);
    }
    team.worked(thread, task_.plan.step_cycles);
    return task_.plan.split == Split::kUnits ? team.barrier() : team.going();
  }

  StepRow* rows_of(int share, int thread) const { return step_rows_ + (thread * shares_ + share) * sizes_.B; }

  void run_units(Order order, const Share& share, const StepRow* rows, int64_t live, int thread) const {
    const T** h = pointers_ + thread * sizes_.B;
    for (int64_t i = 0; i < live; ++i) h[i] = rows[i].h;
    product<T, G>(live, h, sizes_.P, run_, task_.panels.hh, share.units.begin, share.units.end,
                  {order, sizes_.H, share.groups}, [&](const Results<T>& results) {
                    run_cells<Cell>(rows, results, task_.panels.b_hh, sizes_.H,
                                    [&](const StepRow& row, int64_t g, V h_next) { take_output(row, g, h_next); });
                  });
  }

  void project(Order order, const Share& share, const StepRow* rows, int64_t live, int thread) const {
    const T** raw = pointers_ + thread * sizes_.B;
    for (int64_t i = 0; i < live; ++i) raw[i] = rows[i].raw;
    product<T, 1>(live, raw, sizes_.H, run_, task_.panels.hr, share.outputs.begin, share.outputs.end, order,
                  one_by_one([&](int64_t r, int64_t g, const T* sums) { put_output(rows[r], g, V::load(sums)); }));
  }

  StepRow step_row(int64_t s, int64_t chunk_step, int64_t m, int64_t slot) const {
    const int64_t t = clock_.time(s, m), b = clock_.row[m];
    const bool cut = clock_.cut(s, m), last = s + 1 == clock_.length[m];
    StepRow row;
    row.gx = input_.at(chunk_step, slot);
    row.h = cut ? zeros_ : h_[s % 2] + slot * outputs_;
    row.h_next = h_[(s + 1) % 2] + slot * outputs_;
    row.raw = raw_ ? raw_ + slot * hidden_ : nullptr;
    row.y = p_.y.at(t, b);
    row.gates = p_.keep ? kept_.gates(s, b) : nullptr;
    row.states = p_.keep ? kept_.states(s, b) : nullptr;
    row.kept_raw = p_.keep && raw_ ? kept_.raw(s, b) : nullptr;
    row.final[0] = last ? p_.state_out[0] + b * sizes_.P : nullptr;
    for (int k = 1; k < S; ++k) {
      row.after[k] = state_[k] + slot * hidden_;
      row.before[k] = cut ? zeros_ : row.after[k];
      row.final[k] = last ? p_.state_out[k] + b * sizes_.H : nullptr;
    }
    return row;
  }

  // What a cell puts out is h, or is about to be projected.
  FUSEDRNN_INLINE void take_output(const StepRow& row, int64_t g, V h) const {
    if (row.raw == nullptr) return put_output(row, g, h);
    const int64_t j = g * W;
    h.store(row.raw + j);
    if (row.kept_raw) store_columns(row.kept_raw + j, sizes_.H - j, h);
  }

  FUSEDRNN_INLINE void put_output(const StepRow& row, int64_t g, V h) const {
    const int64_t j = g * W, columns = sizes_.P - j;
    h.store(row.h_next + j);
    store_columns(row.y + j, columns, h);
    if (row.final[0]) store_columns(row.final[0] + j, columns, h);
  }

  const cpu::ForwardTask<T>& task_;
  const ForwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock clock_;
  const int64_t hidden_, outputs_;  // padded columns of states 1.. and of h
  const int64_t run_;               // of the sums, see cpu/tile.h
  const int64_t shares_;            // of a thread, at most
  const KeptSteps<Cell, T> kept_;   // where all steps are kept, unless that is segment by segment
  Carver carver_;
  const InputProducts<Cell, T> input_;
  T* h_[2];             // (B, outputs_) by turns, by slots, as are the next
  T* state_[S];         // (B, hidden_), states 1..
  T* zeros_;            // what a reset leaves
  T* raw_;              // (B, hidden_)
  int64_t* positions_;  // (threads, shares, B), those of a thread's rows
  StepRow* step_rows_;  // (threads, shares, B)
  const T** pointers_;  // (threads, B)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
