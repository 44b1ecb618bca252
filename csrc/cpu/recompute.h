// What forward did not keep, made again for one segment of steps from the states that enter it.
//
// h of every step is in y, so only states 1.. wait for the step before: the recurrent products of a chunk of steps are
// made together, as its input products are, and then the cells, step by step. A thread does this for the rows and units
// that it owns, and waits for nobody meanwhile. Every sum is that of the forward pass in the same order, so bits are
// the same.
#pragma once

#include "cpu/cell_rows.h"
#include "cpu/input.h"
#include "cpu/kept.h"
#include "cpu/share.h"
#include "cpu/tile.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class Recomputation {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;

  struct StepRow : CellRow<Cell, T> {
    T* raw;  // (H), nullptr without a projection
  };

 public:
  // Takes no memory if forward kept everything. zeros: a state that was None or reset.
  Recomputation(const cpu::BackwardTask<T>& task, const Clock& clock, const T* zeros, Carver& carver)
      : p_(*task.problem),
        sizes_(p_.sizes),
        clock_(clock),
        panels_(task.forward_panels),
        steps_(smaller(p_.checkpoints.steps, sizes_.T)),
        plan_(plan_of(task, steps_)),
        zeros_(zeros),
        hidden_(padded<T>(sizes_.H)),
        gh_pitch_(plan_.chunk_steps * most_values(task.plan)),
        input_(p_, panels_, clock_, plan_, carver) {
    const int64_t rows = steps_ * sizes_.B, chunk_rows = plan_.chunk_steps * sizes_.B;
    gates_ = carver.template take<T>(rows * K * sizes_.H);
    states_ = carver.template take<T>(rows * (S - 1) * sizes_.H);
    raw_ = panels_.hr ? carver.template take<T>(rows * sizes_.H) : nullptr;
    for (int k = 1; k < S; ++k) state_[k] = carver.template take<T>(rows > 0 ? sizes_.B * hidden_ : 0);
    gh_ = carver.template take<T>(plan_.threads * gh_pitch_);
    step_rows_ = carver.template take<StepRow>(rows > 0 ? plan_.threads * sizes_.B : 0);
    h_rows_ = carver.template take<const T*>(plan_.threads * chunk_rows);
  }

  // The saved values of the segment [s0, s1), of the thread's rows and units; whatever, when the work was stopped.
  KeptSteps<Cell, const T> run(int64_t s0, int64_t s1, const Share& share, Team& team, int thread) const {
    const auto kept = segment<T>(s0);
    for (int k = 1; k < S; ++k) enter_state(kept.entering[k], state_[k], sizes_.H, share, share.units, clock_);
    for (int64_t begin = s0, end; begin < s1 && team.going(); begin = end) {
      end = smaller(begin + plan_.chunk_steps, s1);
      team.worked(thread, plan_.step_cycles * static_cast<double>(end - begin));
      input_.make(begin, end, share, thread, Order::kRising);
      multiply(begin, end, share, thread);
      int64_t count = 0;  // rows of the chunk that the thread owns
      for (int64_t s = begin; s < end; ++s) count += step(kept, s, s - begin, count, share, thread);
    }
    return segment<const T>(s0);
  }

 private:
  static Plan plan_of(const cpu::BackwardTask<T>& task, int64_t steps) {
    Plan plan = task.plan;
    plan.chunk_steps = smaller(task.forward_chunk_steps, steps);
    return plan;
  }

  template <class E>
  KeptSteps<Cell, E> segment(int64_t s0) const {
    KeptSteps<Cell, E> kept{{gates_, states_, raw_}, s0, {}, sizes_.B, sizes_.H};
    for (int k = 1; k < S; ++k)
      kept.entering[k] = s0 > 0 ? p_.checkpoints.entering(k, s0, clock_.steps(), sizes_, S) : p_.state_in[k];
    return kept;
  }

  // Values of gh that a thread makes in one step, at most.
  int64_t most_values(const Plan& plan) const {
    const bool by_rows = plan.split == Split::kRows;
    const int64_t rows = by_rows ? divide_up(sizes_.B, plan.threads) : sizes_.B;
    return rows * divide_up(groups_of<T>(sizes_.H), by_rows ? 1 : plan.threads) * G * W;
  }

  // Those of a row of the chunk, in the order in which the thread owns them: [group][gate][lane], of its groups.
  T* gh_at(int64_t own_row, const Share& share, int thread) const {
    return gh_ + thread * gh_pitch_ + own_row * (share.units.end - share.units.begin) * G * W;
  }

  // W_hh h of all rows of a chunk.
  void multiply(int64_t begin, int64_t end, const Share& share, int thread) const {
    const T** h_rows = h_rows_ + thread * plan_.chunk_steps * sizes_.B;
    int64_t count = 0;
    for (int64_t s = begin; s < end; ++s)
      for (int64_t i = 0, live = share.count(clock_.live(s)); i < live; ++i)
        h_rows[count++] = output_before(p_, clock_, zeros_, s, share.position(i));
    product<T, G>(count, h_rows, sizes_.P, run_of(sizes_.H * G), panels_.hh, share.units.begin, share.units.end,
                  {Order::kRising, sizes_.H}, one_by_one([&](int64_t r, int64_t g, const T* sums) {
                    T* gh = gh_at(r, share, thread) + (g - share.units.begin) * G * W;
                    for (int64_t q = 0; q < G; ++q) V::load(sums + q * W).store(gh + q * W);
                  }));
  }

  // The cells of one step; `done` rows of the chunk came before. Returns how many rows these are.
  int64_t step(const KeptSteps<Cell, T>& kept, int64_t s, int64_t chunk_step, int64_t done, const Share& share,
               int thread) const {
    const int64_t live = share.count(clock_.live(s));
    StepRow* rows = step_rows_ + thread * sizes_.B;
    const T* const* h_rows = h_rows_ + thread * plan_.chunk_steps * sizes_.B + done;
    for (int64_t i = 0; i < live; ++i) {
      const int64_t m = share.position(i), b = clock_.row[m];
      const bool cut = clock_.cut(s, m);
      rows[i] = {};
      rows[i].gx = input_.at(chunk_step, share.slot(i));
      rows[i].h = h_rows[i];
      rows[i].gates = kept.gates(s, b);
      rows[i].states = kept.states(s, b);
      rows[i].raw = raw_ ? kept.raw(s, b) : nullptr;
      for (int k = 1; k < S; ++k) {
        rows[i].after[k] = state_[k] + share.slot(i) * hidden_;
        rows[i].before[k] = cut ? zeros_ : rows[i].after[k];
      }
    }
    const Range groups = share.units;
    run_cells<Cell>(rows,
                    Results<T>{0, static_cast<int>(live), groups.begin, static_cast<int>(groups.end - groups.begin),
                               gh_at(done, share, thread), G * W},
                    panels_.b_hh, sizes_.H, [&](const StepRow& row, int64_t g, V h) {
                      if (row.raw) store_columns(row.raw + g * W, sizes_.H - g * W, h);
                    });
    return live;
  }

  const BackwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock clock_;
  const cpu::ForwardPanels<T>& panels_;
  const int64_t steps_;  // of a segment at most, 0: forward kept everything
  const Plan plan_;      // threads as in backward, chunks as in forward
  const T* zeros_;
  const int64_t hidden_;  // padded columns of states 1..
  const int64_t gh_pitch_;
  const InputProducts<Cell, T> input_;
  T* gates_;            // (steps, B, K, H)
  T* states_;           // (steps, B, S - 1, H)
  T* raw_;              // (steps, B, H)
  T* state_[S];         // (B, hidden_), states 1..
  T* gh_;               // (threads, gh_pitch_)
  StepRow* step_rows_;  // (threads, B)
  const T** h_rows_;    // (threads, chunk_steps * B)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
