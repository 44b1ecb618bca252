// Forward through time: one layer, one direction.
//
// Steps are taken in chunks. For a chunk a thread first makes the input products gx of its rows and units; they stay in
// its cache. Then, step by step, the recurrent products gh, tile by tile, each followed at once by the cell:
//
//   gx = W_ih x_t + b_ih        gh = W_hh h + b_hh
//   h', c', .. = cell(gx, gh, h, c, ..)             y_t = h' or W_hr h'
//
// Split by rows, a thread goes through all steps without waiting. Split by units, all threads meet after every step.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class ForwardPass {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;

  // Where one row of one step reads and writes.
  struct StepRow {
    const T* gx;         // [group][gate][lane]
    const T* h;          // h before the step, zeros after a reset
    const T* before[S];  // states 1.. before the step; [0] is not used
    T* after[S];         // states 1.. after it; [0] is not used
    T* h_next;           // (P padded)
    T* raw;              // output before the projection, (H padded)
    T* y;                // (P)
    T* gates;            // (K, H), nullptr in inference
    T* states;           // (S - 1, H)
    T* kept_raw;         // (H), nullptr without projection
    T* final[S];         // state_out of the row, nullptr unless this is its last step
  };

 public:
  explicit ForwardPass(const cpu::ForwardTask<T>& task)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_{p_.extent, task.row, task.length, sizes_.B},
        hidden_(padded<T>(sizes_.H)),
        outputs_(padded<T>(sizes_.P)),
        gate_pitch_(hidden_ * G),
        run_(run_of(sizes_.H * G)),
        cycles_(task.plan.step_cycles * (1 + (p_.ids ? 0 : double(sizes_.I) / double(sizes_.P)))) {
    Carver carver(task.workspace);
    h_[0] = carver.template take<T>(sizes_.B * outputs_);
    h_[1] = carver.template take<T>(sizes_.B * outputs_);
    for (int k = 1; k < S; ++k) state_[k] = carver.template take<T>(sizes_.B * hidden_);
    zeros_ = carver.template take<T>(larger(hidden_, outputs_));
    raw_ = task.panels.hr ? carver.template take<T>(sizes_.B * hidden_) : nullptr;
    gx_ = carver.template take<T>(task.plan.chunk_steps * sizes_.B * gate_pitch_);
    step_rows_ = carver.template take<StepRow>(task.plan.threads * sizes_.B);
    pointers_ = carver.template take<const T*>(task.plan.threads * task.plan.chunk_steps * sizes_.B);
    gx_rows_ = carver.template take<T*>(task.plan.threads * task.plan.chunk_steps * sizes_.B);
    workspace_bytes_ = carver.used();
  }

  size_t workspace_bytes() const { return workspace_bytes_; }

  void run(Team& team, int thread) const {
    const Share share = share_of<T>(sizes_, task_.plan, team, thread);
    for (int64_t j = thread; j < larger(hidden_, outputs_); j += team.size()) zeros_[j] = T(0);
    clear_padding(p_.y, sizes_.P, sizes_, clock_, thread, team.size());
    enter(share);
    team.barrier();
    const int64_t steps = clock_.steps();
    for (int64_t s0 = 0; s0 < steps; s0 += task_.plan.chunk_steps) {
      const int64_t s1 = smaller(s0 + task_.plan.chunk_steps, steps);
      project_input(s0, s1, share, thread);
      for (int64_t s = s0; s < s1; ++s)
        if (!step(s, s - s0, share, team, thread)) return;
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

  T* gx_at(int64_t chunk_step, int64_t m) const { return gx_ + (chunk_step * sizes_.B + m) * gate_pitch_; }

  // gx of all rows of the chunk that the thread owns, for its units.
  void project_input(int64_t s0, int64_t s1, const Share& share, int thread) const {
    const int64_t most = task_.plan.chunk_steps * sizes_.B;
    const T** x_rows = pointers_ + thread * most;
    T** gx_rows = gx_rows_ + thread * most;
    int64_t count = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t live = share.count(clock_.live(s));
      for (int64_t i = 0; i < live; ++i, ++count) {
        const int64_t m = share.position(i), t = clock_.time(s, m), b = clock_.row[m];
        gx_rows[count] = gx_at(s - s0, m);
        if (p_.ids)
          look_up(*p_.ids.at(t, b), gx_rows[count], share.units);
        else
          x_rows[count] = p_.x.at(t, b);
      }
    }
    if (p_.ids) return;
    product<T, G>(count, x_rows, sizes_.I, run_, task_.panels.ih, share.units.begin, share.units.end,
                  by_turns(task_.turn),
                  one_by_one([&](int64_t r, int64_t g, const T* sums) { add_bias(sums, g, gx_rows[r]); }));
  }

  void add_bias(const T* sums, int64_t g, T* gx) const {
    for (int64_t q = 0; q < G; ++q) {
      const int64_t at = (g * G + q) * W;
      (V::load(sums + q * W) + V::load(task_.panels.b_ih + at)).store(gx + at);
    }
  }

  // The input product of a one-hot row is a column of W_ih.
  void look_up(int64_t id, T* gx, Range units) const {
    for (int64_t g = units.begin; g < units.end; ++g) add_bias(task_.panels.ih + (g * sizes_.I + id) * G * W, g, gx);
  }

  // False when the work was stopped.
  bool step(int64_t s, int64_t chunk_step, const Share& share, Team& team, int thread) const {
    const int64_t live = share.count(clock_.live(s));
    StepRow* rows = step_rows_ + thread * sizes_.B;
    const T** h_rows = pointers_ + thread * task_.plan.chunk_steps * sizes_.B;
    for (int64_t i = 0; i < live; ++i) {
      rows[i] = step_row(s, chunk_step, share.position(i));
      h_rows[i] = rows[i].h;
    }
    product<T, G>(live, h_rows, sizes_.P, run_, task_.panels.hh, share.units.begin, share.units.end,
                  by_turns(task_.turn + s), [&](const Results<T>& results) { finish_units(rows, results); });
    if (task_.panels.hr) {
      if (task_.plan.split == Split::kUnits) team.barrier();
      for (int64_t i = 0; i < live; ++i) h_rows[i] = rows[i].raw;
      product<T, 1>(live, h_rows, sizes_.H, run_, task_.panels.hr, share.outputs.begin, share.outputs.end,
                    by_turns(task_.turn + s),
                    one_by_one([&](int64_t r, int64_t g, const T* sums) { put_output(rows[r], g, V::load(sums)); }));
    }
    team.worked(thread, cycles_);
    return task_.plan.split == Split::kUnits ? team.barrier() : team.going();
  }

  StepRow step_row(int64_t s, int64_t chunk_step, int64_t m) const {
    const int64_t t = clock_.time(s, m), b = clock_.row[m], place = t * sizes_.B + b;
    const bool cut = clock_.cut(s, m), last = s + 1 == clock_.length[m];
    StepRow row;
    row.gx = gx_at(chunk_step, m);
    row.h = cut ? zeros_ : h_[s % 2] + m * outputs_;
    row.h_next = h_[(s + 1) % 2] + m * outputs_;
    row.raw = raw_ ? raw_ + m * hidden_ : nullptr;
    row.y = p_.y.at(t, b);
    row.gates = p_.keep ? p_.saved.gates + place * K * sizes_.H : nullptr;
    row.states = p_.keep ? p_.saved.states + place * (S - 1) * sizes_.H : nullptr;
    row.kept_raw = p_.keep && raw_ ? p_.saved.raw + place * sizes_.H : nullptr;
    row.final[0] = last ? p_.state_out[0] + b * sizes_.P : nullptr;
    for (int k = 1; k < S; ++k) {
      row.after[k] = state_[k] + m * hidden_;
      row.before[k] = cut ? zeros_ : row.after[k];
      row.final[k] = last ? p_.state_out[k] + b * sizes_.H : nullptr;
    }
    return row;
  }

  // The cells of one tile, right behind it: two rows side by side as far as they go.
  FUSEDRNN_INLINE void finish_units(const StepRow* rows, const Results<T>& results) const {
    for (int u = 0; u < results.groups; ++u) {
      int r = 0;
      if constexpr (W > 1)
        for (; r + 2 <= results.rows; r += 2) finish<Two<T>, 2>(rows + results.row + r, results, r, u);
      for (; r < results.rows; ++r) finish<V, 1>(rows + results.row + r, results, r, u);
    }
  }

  // The cell for one group of units of N rows; P holds N vectors.
  template <class P, int N>
  FUSEDRNN_INLINE void finish(const StepRow* rows, const Results<T>& results, int r, int u) const {
    const int64_t g = results.group + u, j = g * W, columns = sizes_.H - j;
    P gx[G], gh[G], before[S], after[S], saved[K > 0 ? K : 1];
    for (int n = 0; n < N; ++n) {
      const StepRow& row = rows[n];
      const T* sums = results.at(r + n, u);
      for (int q = 0; q < G; ++q) {
        const int64_t at = (g * G + q) * W;
        part(gx[q], n) = V::load(row.gx + at);
        part(gh[q], n) = V::load(sums + q * W) + V::load(task_.panels.b_hh + at);
      }
      part(before[0], n) = Cell::kReadsOutput ? V::load(row.h + j) : V(0);
      for (int k = 1; k < S; ++k) part(before[k], n) = V::load(row.before[k] + j);
    }

    Cell::forward(gx, gh, before, after, saved);

    for (int n = 0; n < N; ++n) {
      const StepRow& row = rows[n];
      for (int k = 1; k < S; ++k) {
        const V value = part(after[k], n);
        value.store(row.after[k] + j);
        if (row.states) store_columns(row.states + (k - 1) * sizes_.H + j, columns, value);
        if (row.final[k]) store_columns(row.final[k] + j, columns, value);
      }
      if (row.gates)
        for (int k = 0; k < K; ++k) store_columns(row.gates + k * sizes_.H + j, columns, part(saved[k], n));
      if (row.raw == nullptr) {
        put_output(row, g, part(after[0], n));
      } else {
        part(after[0], n).store(row.raw + j);
        if (row.kept_raw) store_columns(row.kept_raw + j, columns, part(after[0], n));
      }
    }
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
  const int64_t gate_pitch_;        // a row of gx
  const int64_t run_;               // of the sums, see cpu/tile.h
  const double cycles_;             // a guess at one step with its input products
  T* h_[2];                         // (B, outputs_) by turns, in order of rows
  T* state_[S];                     // (B, hidden_), states 1..
  T* zeros_;                        // what a reset leaves
  T* raw_;                          // (B, hidden_)
  T* gx_;                           // (chunk_steps, B, gate_pitch_)
  StepRow* step_rows_;              // (threads, B)
  const T** pointers_;              // (threads, chunk_steps * B)
  T** gx_rows_;                     // (threads, chunk_steps * B)
  size_t workspace_bytes_;
};

}  // namespace fusedrnn::FUSEDRNN_ISA
