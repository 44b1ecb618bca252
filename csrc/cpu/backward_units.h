// The steps of backward with units in lanes: a vector holds W units of one row.
//
// Split by rows, a thread goes through a chunk without waiting. Split by units, all threads meet in every step.
#pragma once

#include "cpu/gradients.h"
#include "cpu/kept.h"
#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class BackwardOfUnits {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  using Kept = KeptSteps<Cell, const T>;

  // Where one row of one step reads and writes.
  struct StepRow {
    const T* dy;         // (P), nullptr: zeros
    T* dh;               // (P padded): gradient of h after the step, then of h before it
    T* dstate[S];        // (H padded): the same of states 1..
    const T* gates;      // (K, H)
    const T* before[S];  // states before the step
    const T* after[S];   // states after it
    T* dgx;              // (G*H)
    T* dgh;              // (G*H), the same place when the cell has one gate gradient
    T* doutput;          // (P): dy + dh, kept for dW_hr; nullptr without a projection
    bool cut;            // a reset cuts the state before the step off
  };

 public:
  static constexpr bool kReadsOthers = false;  // what a thread makes again in a recomputation it reads alone

  BackwardOfUnits(const cpu::BackwardTask<T>& task, const Clock& clock, const T* zeros,
                  const ChunkGradients<Cell, T>& chunk, Carver& carver)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_(clock),
        chunk_(chunk),
        zeros_(zeros),
        hidden_(padded<T>(sizes_.H)),
        outputs_(padded<T>(sizes_.P)),
        gates_(G * sizes_.H),
        run_(run_of(gates_)) {
    dh_ = carver.template take<T>(sizes_.B * outputs_);
    for (int k = 1; k < S; ++k) dstate_[k] = carver.template take<T>(sizes_.B * hidden_);
    step_rows_ = carver.template take<StepRow>(task.plan.threads * sizes_.B);
    pointers_ = carver.template take<const T*>(task.plan.threads * sizes_.B);
  }

  // The gradients of the states after the last step move in.
  void start(const Share& share, Team&, int) const {
    enter_state(p_.dstate_out[0], dh_, sizes_.P, share, share.outputs, clock_);
    for (int k = 1; k < S; ++k) enter_state(p_.dstate_out[k], dstate_[k], sizes_.H, share, share.units, clock_);
  }

  // Steps [s0, s1), one chunk of `count` rows; ends early when the work was stopped.
  void go_back(const Kept& kept, int64_t s0, int64_t s1, int64_t count, const Share& share, Team& team,
               int thread) const {
    for (int64_t s = s1 - 1; s >= s0; --s) {
      count -= clock_.live(s);
      if (!step(kept, s, count, share, team, thread)) return;
    }
  }

  // Those of the states before the first step move out.
  void end(const Share& share, Team&, int) const {
    leave_state(dh_, p_.dstate_in[0], sizes_.P, share, share.outputs, clock_, 0);
    for (int k = 1; k < S; ++k) leave_state(dstate_[k], p_.dstate_in[k], sizes_.H, share, share.units, clock_, 0);
  }

 private:
  // False when the work was stopped; the threads then meet at the end of the chunk and leave.
  bool step(const Kept& kept, int64_t s, int64_t first_row, const Share& share, Team& team, int thread) const {
    const bool meet = task_.plan.split == Split::kUnits;
    const int64_t live = share.count(clock_.live(s));
    StepRow* rows = step_rows_ + thread * sizes_.B;
    const T** pointers = pointers_ + thread * sizes_.B;
    for (int64_t i = 0; i < live; ++i) rows[i] = step_row(kept, s, first_row, share.position(i), share.slot(i));

    if (task_.panels.hr) {
      for (int64_t i = 0; i < live; ++i) add_output_gradients(rows[i], share.outputs);
      if (meet) team.barrier();
      for (int64_t i = 0; i < live; ++i) pointers[i] = rows[i].doutput;
      product<T, 1>(live, pointers, sizes_.P, run_, task_.panels.hr, share.units.begin, share.units.end, by_turns(s),
                    one_by_one([&](int64_t r, int64_t g, const T* sums) { undo_unit(rows[r], g, V::load(sums)); }));
    } else {
      for (int64_t i = 0; i < live; ++i)
        for (int64_t g = share.units.begin; g < share.units.end; ++g)
          undo_unit(rows[i], g, output_gradient(rows[i], g));
    }
    team.worked(thread, task_.plan.step_cycles);
    if (!(meet ? team.barrier() : team.going())) return false;
    // gh = W_hh h + b_hh
    for (int64_t i = 0; i < live; ++i) pointers[i] = rows[i].dgh;
    product<T, 1>(live, pointers, gates_, run_, task_.panels.hh, share.outputs.begin, share.outputs.end, by_turns(s),
                  one_by_one([&](int64_t r, int64_t g, const T* sums) {
                    T* dh = rows[r].dh + g * W;
                    const V direct = Cell::kReadsOutput ? V::load(dh) : V(0);
                    (rows[r].cut ? V(0) : direct + V::load(sums)).store(dh);
                  }));
    return true;
  }

  StepRow step_row(const Kept& kept, int64_t s, int64_t first_row, int64_t m, int64_t slot) const {
    const int64_t t = clock_.time(s, m), b = clock_.row[m], chunk_row = first_row + m;
    StepRow row;
    row.cut = clock_.cut(s, m);
    row.dy = p_.dy ? p_.dy.at(t, b) : nullptr;
    row.dh = dh_ + slot * outputs_;
    row.gates = kept.gates(s, b);
    row.dgx = chunk_.dgx(chunk_row);
    row.dgh = chunk_.dgh(chunk_row);
    row.doutput = chunk_.doutput(chunk_row);
    row.before[0] = output_before(p_, clock_, zeros_, s, m);
    row.after[0] = p_.y.at(t, b);
    for (int k = 1; k < S; ++k) {
      row.dstate[k] = dstate_[k] + slot * hidden_;
      row.after[k] = kept.states(s, b) + (k - 1) * sizes_.H;
      const T* before = row.cut ? nullptr : kept.before(k, s, b);
      row.before[k] = before ? before : zeros_;
    }
    return row;
  }

  V output_gradient(const StepRow& row, int64_t g) const {
    const V dh = V::load(row.dh + g * W);
    return row.dy ? dh + load_columns(row.dy + g * W, sizes_.P - g * W) : dh;
  }

  void add_output_gradients(const StepRow& row, Range outputs) const {
    for (int64_t g = outputs.begin; g < outputs.end; ++g)
      store_columns(row.doutput + g * W, sizes_.P - g * W, output_gradient(row, g));
  }

  // The cell backwards for one group of units of one row. dh: gradient of the cell's output.
  FUSEDRNN_INLINE void undo_unit(const StepRow& row, int64_t g, V dh) const {
    const int64_t j = g * W, columns = sizes_.H - j;
    V saved[K > 0 ? K : 1], before[S], after[S], dafter[S], dgx[G], dgh[G], dbefore[S];
    for (int k = 0; k < K; ++k) saved[k] = load_columns(row.gates + k * sizes_.H + j, columns);
    before[0] = Cell::kReadsOutput ? load_columns(row.before[0] + j, columns) : V(0);
    after[0] = Cell::kReadsOutput ? load_columns(row.after[0] + j, columns) : V(0);
    dafter[0] = dh;
    for (int k = 1; k < S; ++k) {
      before[k] = load_columns(row.before[k] + j, columns);
      after[k] = load_columns(row.after[k] + j, columns);
      dafter[k] = V::load(row.dstate[k] + j);
    }

    Cell::backward(saved, before, after, dafter, dgx, dgh, dbefore);

    for (int q = 0; q < G; ++q) {
      store_columns(row.dgx + q * sizes_.H + j, columns, dgx[q]);
      if (!Cell::kOneGateGradient) store_columns(row.dgh + q * sizes_.H + j, columns, dgh[q]);
    }
    if (Cell::kReadsOutput) dbefore[0].store(row.dh + j);
    for (int k = 1; k < S; ++k) (row.cut ? V(0) : dbefore[k]).store(row.dstate[k] + j);
  }

  const cpu::BackwardTask<T>& task_;
  const BackwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock& clock_;
  const ChunkGradients<Cell, T>& chunk_;
  const T* zeros_;                  // a state that was None or reset
  const int64_t hidden_, outputs_;  // padded columns of states 1.. and of h
  const int64_t gates_;             // G*H, a row of gate gradients
  const int64_t run_;               // of the sums, see cpu/tile.h
  T* dh_;                           // (B, outputs_), by slots
  T* dstate_[S];                    // (B, hidden_), states 1..
  StepRow* step_rows_;              // (threads, B)
  const T** pointers_;              // (threads, B)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
