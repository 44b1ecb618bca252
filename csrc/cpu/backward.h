// Backward through time: one layer, one direction.
//
// The loop over the steps makes only what the next step needs, the gate gradients dgx, dgh and from them dh:
//
//   dgx, dgh, dc, .. = cell backward(dy_t + dh, dc, ..)        dh = W_hh^T dgh (+ the cell's direct path)
//
// Gate gradients are kept for one chunk of steps. While they are in the cache, the products over all rows of the chunk
// follow:
//
//   dW_ih += dgx^T x        dW_hh += dgh^T h        db_ih += sum dgx        db_hh += sum dgh        dx = dgx W_ih
//
// A thread owns rows of the weight gradients, and transposes for itself what it multiplies; where many threads would
// own few rows each, it owns columns. So no sum crosses threads; chunks follow from the problem alone, so bits do not
// depend on the number of threads. With a projection y = W_hr h', dy_t + dh first goes through W_hr^T.
#pragma once

#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"
#include "cpu/vector_math.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class BackwardPass {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates, S = Cell::kStates, K = Cell::kSaved;
  static constexpr int64_t kOwnRows = 48;  // from so many on it pays that every thread packs all of the other factor
  static constexpr int64_t kApart = 64 / sizeof(T);  // a cache line, so that near rows never share all their sets
  static constexpr int64_t kBlockValues = (512 << 10) / sizeof(T);  // half of a second-level cache

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
  explicit BackwardPass(const cpu::BackwardTask<T>& task)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_{p_.extent, task.row, task.length, sizes_.B},
        hidden_(padded<T>(sizes_.H)),
        outputs_(padded<T>(sizes_.P)),
        gates_(G * sizes_.H),
        run_(run_of(gates_)),
        chunk_rows_(task.plan.chunk_steps * sizes_.B),
        column_pitch_(chunk_rows_ + kApart),
        own_gates_(smaller(gates_, task.panels.hr ? sizes_.P : gates_) >= kOwnRows * task.plan.threads) {
    Carver carver(task.workspace);
    const int64_t threads = task.plan.threads;
    dh_ = carver.template take<T>(sizes_.B * outputs_);
    for (int k = 1; k < S; ++k) dstate_[k] = carver.template take<T>(sizes_.B * hidden_);
    zeros_ = carver.template take<T>(larger(larger(hidden_, outputs_), sizes_.I));
    dgx_ = carver.template take<T>(chunk_rows_ * gates_);
    dgh_ = Cell::kOneGateGradient ? dgx_ : carver.template take<T>(chunk_rows_ * gates_);
    doutput_ = task.panels.hr ? carver.template take<T>(chunk_rows_ * sizes_.P) : nullptr;
    dgx_columns_ = p_.ids ? nullptr : carver.template take<T>(gates_ * column_pitch_);
    dgh_columns_ = Cell::kOneGateGradient && !p_.ids ? dgx_columns_ : carver.template take<T>(gates_ * column_pitch_);
    doutput_columns_ = task.panels.hr ? carver.template take<T>(sizes_.P * column_pitch_) : nullptr;
    by_id_ = p_.ids ? carver.template take<T>(sizes_.I * gates_) : nullptr;
    step_rows_ = carver.template take<StepRow>(threads * sizes_.B);
    pack_groups_ = larger(kBlockValues / larger(chunk_rows_ * W, 1), Tiles<T, 1>::kMaxGroups);
    pack_ = carver.template take<T>(threads * pack_groups_ * chunk_rows_ * W);
    pointer_pitch_ = larger(chunk_rows_, larger(gates_, larger(sizes_.B, sizes_.P)));
    pointers_ = carver.template take<const T*>(threads * pointer_pitch_);
    sources_ = carver.template take<const T*>(threads * chunk_rows_);
    workspace_bytes_ = carver.used();
  }

  size_t workspace_bytes() const { return workspace_bytes_; }

  void run(Team& team, int thread) const {
    const Share share = share_of<T>(sizes_, task_.plan, team, thread);
    start(share, team, thread);
    team.barrier();
    const int64_t steps = clock_.steps();
    for (int64_t s1 = steps; s1 > 0;) {
      const int64_t s0 = larger(0, s1 - task_.plan.chunk_steps);
      int64_t count = 0;  // rows of the chunk, step by step in rising order
      for (int64_t s = s0; s < s1; ++s) count += clock_.live(s);
      int64_t first_row = count;
      for (int64_t s = s1 - 1; s >= s0; --s) {
        first_row -= clock_.live(s);
        if (!step(s, first_row, share, team, thread)) break;
      }
      if (!team.barrier()) return;
      transpose_gradients(count, team, thread);
      if (!own_gates_) team.barrier();
      gradients(s0, s1, count, s1 == steps, team, thread);
      team.worked(thread, 3 * task_.plan.step_cycles * static_cast<double>(s1 - s0));  // products of three kinds
      if (!team.barrier()) return;
      s1 = s0;
    }
    leave_state(dh_, p_.dstate_in[0], sizes_.P, share, share.outputs, clock_, 0);
    for (int k = 1; k < S; ++k) leave_state(dstate_[k], p_.dstate_in[k], sizes_.H, share, share.units, clock_, 0);
    if (same_bias_gradients()) {
      const Range part = part_of(gates_, thread, team.size());
      for (int64_t j = part.begin; j < part.end; ++j) p_.db_hh[j] = p_.db_ih[j];
    }
    if (p_.ids) sum_by_id(team, thread);
  }

 private:
  bool same_bias_gradients() const { return Cell::kOneGateGradient && p_.db_ih && p_.db_hh; }

  void start(const Share& share, Team& team, int thread) const {
    const int threads = team.size();
    enter_state(p_.dstate_out[0], dh_, sizes_.P, share, share.outputs, clock_);
    for (int k = 1; k < S; ++k) enter_state(p_.dstate_out[k], dstate_[k], sizes_.H, share, share.units, clock_);
    clear(zeros_, larger(larger(hidden_, outputs_), sizes_.I), thread, threads);
    if (p_.dx) clear_padding(p_.dx, sizes_.I, sizes_, clock_, thread, threads);
    if (p_.ids) clear(by_id_, sizes_.I * gates_, thread, threads);
    if (clock_.steps() > 0) return;  // else the first chunk assigns
    clear(p_.dw_ih, gates_ * sizes_.I, thread, threads);
    clear(p_.dw_hh, gates_ * sizes_.P, thread, threads);
    clear(p_.db_ih, gates_, thread, threads);
    clear(p_.db_hh, gates_, thread, threads);
    clear(p_.dw_hr, sizes_.P * sizes_.H, thread, threads);
  }

  static void clear(T* p, int64_t count, int thread, int threads) {
    if (p == nullptr) return;
    const Range part = part_of(count, thread, threads);
    for (int64_t j = part.begin; j < part.end; ++j) p[j] = T(0);
  }

  // False when the work was stopped; the threads then meet at the end of the chunk and leave.
  bool step(int64_t s, int64_t first_row, const Share& share, Team& team, int thread) const {
    const bool meet = task_.plan.split == Split::kUnits;
    const int64_t live = share.count(clock_.live(s));
    StepRow* rows = step_rows_ + thread * sizes_.B;
    const T** pointers = pointers_ + thread * pointer_pitch_;
    for (int64_t i = 0; i < live; ++i) rows[i] = step_row(s, share.position(i), first_row + share.position(i));

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

  StepRow step_row(int64_t s, int64_t m, int64_t chunk_row) const {
    const int64_t t = clock_.time(s, m), b = clock_.row[m], place = t * sizes_.B + b;
    const int64_t place_before = clock_.time_before(t) * sizes_.B + b;
    StepRow row;
    row.cut = clock_.cut(s, m);
    row.dy = p_.dy ? p_.dy.at(t, b) : nullptr;
    row.dh = dh_ + m * outputs_;
    row.gates = p_.saved.gates + place * K * sizes_.H;
    row.dgx = dgx_ + chunk_row * gates_;
    row.dgh = dgh_ + chunk_row * gates_;
    row.doutput = doutput_ ? doutput_ + chunk_row * sizes_.P : nullptr;
    row.before[0] = output_before(s, m, row.cut);
    row.after[0] = p_.y.at(t, b);
    for (int k = 1; k < S; ++k) {
      const T* states = p_.saved.states + (k - 1) * sizes_.H;
      row.dstate[k] = dstate_[k] + m * hidden_;
      row.after[k] = states + place * (S - 1) * sizes_.H;
      row.before[k] = row.cut ? zeros_
                      : s > 0 ? states + place_before * (S - 1) * sizes_.H
                              : (p_.state_in[k] ? p_.state_in[k] + b * sizes_.H : zeros_);
    }
    return row;
  }

  // h before step s, (P) values.
  const T* output_before(int64_t s, int64_t m, bool cut) const {
    if (cut) return zeros_;
    if (s > 0) return p_.y.at(clock_.time_before(clock_.time(s, m)), clock_.row[m]);
    return p_.state_in[0] ? p_.state_in[0] + clock_.row[m] * sizes_.P : zeros_;
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

  // The weight gradients sum over the rows of a chunk, and the tiles want the terms of a sum side by side.
  void transpose_gradients(int64_t count, Team& team, int thread) const {
    if (dgx_columns_) transpose_part(dgx_, gates_, count, dgx_columns_, team, thread);
    if (dgh_columns_ != dgx_columns_) transpose_part(dgh_, gates_, count, dgh_columns_, team, thread);
    if (doutput_columns_) transpose_part(doutput_, sizes_.P, count, doutput_columns_, team, thread);
  }

  void transpose_part(const T* rows, int64_t columns, int64_t count, T* out, Team& team, int thread) const {
    const Range part = rows_of(columns, team, thread);
    transpose(rows + part.begin, columns, count, part.end - part.begin, out + part.begin * column_pitch_, column_pitch_,
              count);
  }

  // Rows of a weight gradient, which are columns of the gate gradients, that a thread transposes.
  static Range rows_of(int64_t rows, Team& team, int thread) {
    const Range part = part_of(groups_of<T>(rows), thread, team.size());
    return {part.begin * W, smaller(rows, part.end * W)};
  }

  // The products over the rows of a chunk of steps [s0, s1), `count` rows in all.
  void gradients(int64_t s0, int64_t s1, int64_t count, bool first, Team& team, int thread) const {
    const int threads = team.size();
    const T** source = sources_ + thread * chunk_rows_;
    const auto gather = [&](auto&& row_at) {
      int64_t r = 0;
      for (int64_t s = s0; s < s1; ++s)
        for (int64_t m = 0, live = clock_.live(s); m < live; ++m, ++r) source[r] = row_at(s, m);
    };
    const int other = threads - 1 - thread;  // so that no thread gets the larger part of both
    const auto add = [&](const T* left, int64_t rows, T* out, int64_t columns, int who) {
      const int64_t groups = groups_of<T>(columns);
      if (own_gates_)
        add_outer(left, rows_of(rows, team, thread), source, count, out, columns, {0, groups}, first, thread);
      else
        add_outer(left, {0, rows}, source, count, out, columns, part_of(groups, who, threads), first, thread);
    };
    gather([&](int64_t s, int64_t m) { return output_before(s, m, clock_.cut(s, m)); });
    add(dgh_columns_, gates_, p_.dw_hh, sizes_.P, other);
    if (task_.panels.hr) {
      gather([&](int64_t s, int64_t m) {
        return p_.saved.raw + (clock_.time(s, m) * sizes_.B + clock_.row[m]) * sizes_.H;
      });
      add(doutput_columns_, sizes_.P, p_.dw_hr, sizes_.H, thread);
    }
    if (p_.ids) {
      add_by_id(s0, s1, team, thread);
    } else {
      gather([&](int64_t s, int64_t m) { return p_.x.at(clock_.time(s, m), clock_.row[m]); });
      add(dgx_columns_, gates_, p_.dw_ih, sizes_.I, thread);
    }
    add_columns(dgx_, count, p_.db_ih, first, part_of(groups_of<T>(gates_), other, threads));
    if (!same_bias_gradients())
      add_columns(dgh_, count, p_.db_hh, first, part_of(groups_of<T>(gates_), thread, threads));
    if (p_.dx) input_gradient(s0, s1, team, thread);
  }

  // out (.., columns) = or += sum over r of left[:, r] source[r], for some rows and groups of columns. Both factors are
  // taken in blocks that stay in the cache.
  void add_outer(const T* left, Range rows_out, const T* const* source, int64_t count, T* out, int64_t columns,
                 Range groups, bool assign, int thread) const {
    T* pack = pack_ + thread * pack_groups_ * chunk_rows_ * W;
    const T** pointers = pointers_ + thread * pointer_pitch_;
    const int64_t row_block = larger(kBlockValues / larger(count, 1), TileShape<1>::kRows);
    for (int64_t g0 = groups.begin; g0 < groups.end; g0 += pack_groups_) {
      const int64_t width = smaller(pack_groups_, groups.end - g0);
      pack_sources(source, count, columns, {g0, g0 + width}, pack);
      for (int64_t j0 = rows_out.begin; j0 < rows_out.end; j0 += row_block) {
        const int64_t rows = smaller(row_block, rows_out.end - j0);
        for (int64_t j = 0; j < rows; ++j) pointers[j] = left + (j0 + j) * column_pitch_;
        product<T, 1>(rows, pointers, count, run_, pack, 0, width, Order::kRising,
                      one_by_one([&](int64_t r, int64_t u, const T* sums) {
                        const int64_t i = (g0 + u) * W;
                        T* at = out + (j0 + r) * columns + i;
                        const V sum = V::load(sums);
                        store_columns(at, columns - i, assign ? sum : load_columns(at, columns - i) + sum);
                      }));
      }
    }
  }

  void pack_sources(const T* const* source, int64_t count, int64_t columns, Range groups, T* pack) const {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t g = groups.begin; g < groups.end; ++g)
        load_columns(source[r] + g * W, columns - g * W).store(pack + ((g - groups.begin) * count + r) * W);
  }

  // out = or += the sum of the rows, for groups of columns
  void add_columns(const T* rows, int64_t count, T* out, bool assign, Range groups) const {
    if (out == nullptr) return;
    for (int64_t g = groups.begin; g < groups.end; ++g) {
      const int64_t j = g * W, columns = gates_ - j;
      V total = assign ? V(0) : load_columns(out + j, columns);
      for (int64_t begin = 0; begin < count; begin += run_) {
        V sum(0);
        for (int64_t r = begin; r < smaller(begin + run_, count); ++r)
          sum = sum + load_columns(rows + r * gates_ + j, columns);
        total = total + sum;
      }
      store_columns(out + j, columns, total);
    }
  }

  // dx = dgx W_ih, for some rows of the chunk: split by rows, those whose dgx the thread has made itself.
  void input_gradient(int64_t s0, int64_t s1, Team& team, int thread) const {
    const bool by_rows = task_.plan.split == Split::kRows;
    const T** pointers = pointers_ + thread * pointer_pitch_;
    const T** target = sources_ + thread * chunk_rows_;
    int64_t r = 0, own = 0;
    for (int64_t s = s0; s < s1; ++s)
      for (int64_t m = 0, live = clock_.live(s); m < live; ++m, ++r) {
        if ((by_rows ? m : r) % team.size() != thread) continue;
        pointers[own] = dgx_ + r * gates_;
        target[own++] = p_.dx.at(clock_.time(s, m), clock_.row[m]);
      }
    product<T, 1>(own, pointers, gates_, run_, task_.panels.ih, 0, groups_of<T>(sizes_.I), Order::kRising,
                  one_by_one([&](int64_t i, int64_t g, const T* sums) {
                    store_columns(const_cast<T*>(target[i]) + g * W, sizes_.I - g * W, V::load(sums));
                  }));
  }

  // One-hot input: the outer product is a sum into the row of the id, kept as (I, G*H) until the end.
  void add_by_id(int64_t s0, int64_t s1, Team& team, int thread) const {
    const Range groups = part_of(groups_of<T>(gates_), thread, team.size());
    int64_t r = 0;
    for (int64_t s = s0; s < s1; ++s)
      for (int64_t m = 0, live = clock_.live(s); m < live; ++m, ++r) {
        T* out = by_id_ + *p_.ids.at(clock_.time(s, m), clock_.row[m]) * gates_;
        const T* row = dgx_ + r * gates_;
        for (int64_t g = groups.begin; g < groups.end; ++g) {
          const int64_t j = g * W, columns = gates_ - j;
          store_columns(out + j, columns, load_columns(out + j, columns) + load_columns(row + j, columns));
        }
      }
  }

  // dW_ih (G*H, I) from the sums by id (I, G*H)
  void sum_by_id(Team& team, int thread) const {
    constexpr int64_t kBlock = 16;
    const Range part = part_of((gates_ + kBlock - 1) / kBlock, thread, team.size());
    for (int64_t block = part.begin; block < part.end; ++block)
      for (int64_t id = 0; id < sizes_.I; ++id)
        for (int64_t j = block * kBlock; j < smaller(gates_, (block + 1) * kBlock); ++j)
          p_.dw_ih[j * sizes_.I + id] = by_id_[id * gates_ + j];
  }

  const cpu::BackwardTask<T>& task_;
  const BackwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock clock_;
  const int64_t hidden_, outputs_;  // padded columns of states 1.. and of h
  const int64_t gates_;             // G*H, a row of gate gradients
  const int64_t run_;               // of the sums, see cpu/tile.h
  const int64_t chunk_rows_;        // rows of a chunk at most
  const int64_t column_pitch_;      // of the transposed gradients
  const bool own_gates_;            // a thread owns rows of the weight gradients, else columns
  int64_t pointer_pitch_;
  T* dh_;                // (B, outputs_), in order of rows
  T* dstate_[S];         // (B, hidden_), states 1..
  T* zeros_;             // a state that was None or reset
  T* dgx_;               // (chunk_rows, G*H)
  T* dgh_;               // likewise, or the same
  T* doutput_;           // (chunk_rows, P)
  T* dgx_columns_;       // (G*H, chunk_rows): dgx transposed, not made of one-hot input
  T* dgh_columns_;       // likewise, or the same
  T* doutput_columns_;   // (P, chunk_rows)
  T* by_id_;             // (I, G*H)
  StepRow* step_rows_;   // (threads, B)
  int64_t pack_groups_;  // of columns that are packed together
  T* pack_;              // (threads, pack_groups, chunk_rows, W)
  const T** pointers_;   // (threads, pointer_pitch)
  const T** sources_;    // (threads, chunk_rows)
  size_t workspace_bytes_;
};

}  // namespace fusedrnn::FUSEDRNN_ISA
