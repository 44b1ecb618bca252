// The gate gradients of a chunk of steps, and the products over all of its rows that follow while they are in the
// cache:
//
//   dW_ih += dgx^T x        dW_hh += dgh^T h        db_ih += sum dgx        db_hh += sum dgh        dx = dgx W_ih
//
// and, with a projection y = W_hr h', dW_hr += doutput^T h'.
//
// A thread owns rows of the weight gradients, and transposes for itself what it multiplies; where many threads would
// own few rows each, it owns columns. So no sum crosses threads.
#pragma once

#include "cpu/kept.h"
#include "cpu/outer.h"
#include "cpu/share.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class Cell, class T>
class ChunkGradients {
  using V = Vec<T>;
  static constexpr int W = V::kWidth, G = Cell::kGates;
  static constexpr int64_t kOwnRows = 48;  // from so many on it pays that every thread packs all of the other factor

 public:
  using Kept = KeptSteps<Cell, const T>;

  // zeros: a state that was None or reset
  ChunkGradients(const cpu::BackwardTask<T>& task, const Clock& clock, const T* zeros, Carver& carver)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_(clock),
        zeros_(zeros),
        gates_(G * sizes_.H),
        run_(run_of(gates_)),
        chunk_rows_(task.plan.chunk_steps * sizes_.B),
        turn_ih_(OuterProducts<T>::turns(gates_, sizes_.I)),
        turn_hh_(OuterProducts<T>::turns(gates_, sizes_.P)),
        own_gates_(smaller(gates_, task.panels.hr ? sizes_.P : gates_) >= kOwnRows * task.plan.threads),
        outer_(task.plan.threads, chunk_rows_, larger(gates_, sizes_.P),
               larger(turn_ih_ && !p_.ids ? sizes_.I : 0, turn_hh_ ? sizes_.P : 0), run_, carver) {
    const int64_t threads = task.plan.threads, column_values = gates_ * outer_.pitch();
    dgx_ = carver.template take<T>(chunk_rows_ * gates_);
    dgh_ = Cell::kOneGateGradient ? dgx_ : carver.template take<T>(chunk_rows_ * gates_);
    doutput_ = task.panels.hr ? carver.template take<T>(chunk_rows_ * sizes_.P) : nullptr;
    dgx_columns_ = p_.ids || turn_ih_ ? nullptr : carver.template take<T>(column_values);
    if (turn_hh_)
      dgh_columns_ = nullptr;
    else
      dgh_columns_ = Cell::kOneGateGradient && dgx_columns_ ? dgx_columns_ : carver.template take<T>(column_values);
    doutput_columns_ = task.panels.hr ? carver.template take<T>(sizes_.P * outer_.pitch()) : nullptr;
    by_id_ = p_.ids ? carver.template take<T>(sizes_.I * gates_) : nullptr;
    pointers_ = carver.template take<const T*>(threads * chunk_rows_);
    sources_ = carver.template take<const T*>(threads * chunk_rows_);
  }

  // Where the gradients of one row of the chunk are put.
  T* dgx(int64_t chunk_row) const { return dgx_ + chunk_row * gates_; }  // (G*H)
  T* dgh(int64_t chunk_row) const { return dgh_ + chunk_row * gates_; }  // likewise, or the same place
  // (P): dy + dh, nullptr without a projection
  T* doutput(int64_t chunk_row) const { return doutput_ ? doutput_ + chunk_row * sizes_.P : nullptr; }

  void start(Team& team, int thread) const {
    const int threads = team.size();
    if (p_.ids) clear(by_id_, sizes_.I * gates_, thread, threads);
    if (clock_.steps() > 0) return;  // else the first chunk assigns
    clear(p_.dw_ih, gates_ * sizes_.I, thread, threads);
    clear(p_.dw_hh, gates_ * sizes_.P, thread, threads);
    clear(p_.db_ih, gates_, thread, threads);
    clear(p_.db_hh, gates_, thread, threads);
    clear(p_.dw_hr, sizes_.P * sizes_.H, thread, threads);
  }

  // The products over the rows of steps [s0, s1), `count` rows in all; all threads meet before and after. The first
  // chunk assigns, the others add. False when the work was stopped.
  bool add(const Kept& kept, int64_t s0, int64_t s1, int64_t count, bool first, const Share& share, Team& team,
           int thread) const {
    if (!team.barrier()) return false;
    transpose_gradients(count, team, thread);
    if (!own_gates_) team.barrier();
    multiply(kept, s0, s1, count, first, team, thread);
    if (p_.dx && task_.plan.lanes == cpu::Lanes::kUnits) input_gradient(s0, s1, count, share, team, thread);
    team.worked(thread, 3 * task_.plan.step_cycles * static_cast<double>(s1 - s0));  // products of three kinds
    return team.barrier();
  }

  void end(Team& team, int thread) const {
    if (same_bias_gradients()) {
      const Range part = part_of(gates_, thread, team.size());
      for (int64_t j = part.begin; j < part.end; ++j) p_.db_hh[j] = p_.db_ih[j];
    }
    if (p_.ids) sum_by_id(team, thread);
  }

 private:
  bool same_bias_gradients() const { return Cell::kOneGateGradient && p_.db_ih && p_.db_hh; }

  static void clear(T* p, int64_t count, int thread, int threads) {
    if (p == nullptr) return;
    const Range part = part_of(count, thread, threads);
    for (int64_t j = part.begin; j < part.end; ++j) p[j] = T(0);
  }

  // The weight gradients sum over the rows of a chunk, and the tiles want the terms of a sum side by side.
  void transpose_gradients(int64_t count, Team& team, int thread) const {
    if (dgx_columns_) transpose_part(dgx_, gates_, count, dgx_columns_, team, thread);
    if (dgh_columns_ && dgh_columns_ != dgx_columns_) transpose_part(dgh_, gates_, count, dgh_columns_, team, thread);
    if (doutput_columns_) transpose_part(doutput_, sizes_.P, count, doutput_columns_, team, thread);
  }

  void transpose_part(const T* rows, int64_t columns, int64_t count, T* out, Team& team, int thread) const {
    const Range part = rows_of(columns, team, thread);
    transpose(rows + part.begin, columns, count, part.end - part.begin, out + part.begin * outer_.pitch(),
              outer_.pitch(), count);
  }

  // Rows of a weight gradient, which are columns of the gate gradients, that a thread transposes.
  static Range rows_of(int64_t rows, Team& team, int thread) {
    const Range part = part_of(groups_of<T>(rows), thread, team.size());
    return {part.begin * W, smaller(rows, part.end * W)};
  }

  void multiply(const Kept& kept, int64_t s0, int64_t s1, int64_t count, bool first, Team& team, int thread) const {
    const int threads = team.size();
    const T** source = sources_ + thread * chunk_rows_;
    const auto gather = [&](auto&& row_at) {
      int64_t r = 0;
      for (int64_t s = s0; s < s1; ++s)
        for (int64_t m = 0, live = clock_.live(s); m < live; ++m, ++r) source[r] = row_at(s, m);
    };
    const int other = threads - 1 - thread;  // so that no thread gets the larger part of both
    const auto add = [&](const T* left_columns, int64_t rows, T* out, int64_t columns, int who) {
      const Range groups = {0, groups_of<T>(columns)};
      if (own_gates_)
        outer_.add(left_columns, rows_of(rows, team, thread), source, count, out, columns, groups, first, thread);
      else
        outer_.add(left_columns, {0, rows}, source, count, out, columns, part_of(groups.end, who, threads), first,
                   thread);
    };
    const auto add_turned = [&](const T* left, T* out, int64_t columns, int who) {
      outer_.add_turned(left, gates_, part_of(groups_of<T>(gates_), who, threads), source, count, out, columns, first,
                        thread);
    };
    gather([&](int64_t s, int64_t m) { return output_before(p_, clock_, zeros_, s, m); });
    if (turn_hh_)
      add_turned(dgh_, p_.dw_hh, sizes_.P, other);
    else
      add(dgh_columns_, gates_, p_.dw_hh, sizes_.P, other);
    if (task_.panels.hr) {
      gather([&](int64_t s, int64_t m) { return kept.raw(s, clock_.row[m]); });
      add(doutput_columns_, sizes_.P, p_.dw_hr, sizes_.H, thread);
    }
    if (p_.ids) {
      add_by_id(s0, s1, team, thread);
    } else {
      gather([&](int64_t s, int64_t m) { return p_.x.at(clock_.time(s, m), clock_.row[m]); });
      if (turn_ih_)
        add_turned(dgx_, p_.dw_ih, sizes_.I, thread);
      else
        add(dgx_columns_, gates_, p_.dw_ih, sizes_.I, thread);
    }
    add_columns(dgx_, count, p_.db_ih, first, part_of(groups_of<T>(gates_), other, threads));
    if (!same_bias_gradients())
      add_columns(dgh_, count, p_.db_hh, first, part_of(groups_of<T>(gates_), thread, threads));
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

  // dx = dgx W_ih, for some of the `count` rows of the chunk: split by rows, those whose dgx the thread has made
  // itself, else neighbours. With rows in lanes it is made step by step, cpu/backward_rows.h.
  void input_gradient(int64_t s0, int64_t s1, int64_t count, const Share& share, Team& team, int thread) const {
    const T** pointers = pointers_ + thread * chunk_rows_;
    const T** target = sources_ + thread * chunk_rows_;
    const Range rows = task_.plan.split == Split::kRows ? Range{0, count} : part_of(count, thread, team.size());
    int64_t own = 0, first_row = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t live = clock_.live(s);
      for (int64_t i = 0, most = share.count(live); i < most; ++i) {
        const int64_t m = share.position(i), r = first_row + m;
        if (r < rows.begin || r >= rows.end) continue;
        pointers[own] = dgx_ + r * gates_;
        target[own++] = p_.dx.at(clock_.time(s, m), clock_.row[m]);
      }
      first_row += live;
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
  const T* zeros_;
  const int64_t gates_;           // G*H, a row of gate gradients
  const int64_t run_;             // of the sums, see cpu/tile.h
  const int64_t chunk_rows_;      // rows of a chunk at most
  const bool turn_ih_, turn_hh_;  // see cpu/outer.h
  const bool own_gates_;          // a thread owns rows of the weight gradients, else columns
  const OuterProducts<T> outer_;
  T* dgx_;              // (chunk_rows, G*H)
  T* dgh_;              // likewise, or the same
  T* doutput_;          // (chunk_rows, P)
  T* dgx_columns_;      // (G*H, pitch): dgx transposed; nullptr where nobody reads it
  T* dgh_columns_;      // likewise, or the same
  T* doutput_columns_;  // (P, pitch)
  T* by_id_;            // (I, G*H)
  const T** pointers_;  // (threads, chunk_rows)
  const T** sources_;   // (threads, chunk_rows)
};

}  // namespace fusedrnn::FUSEDRNN_ISA
