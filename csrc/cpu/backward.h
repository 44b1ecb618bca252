// Backward through time: one layer, one direction.
//
// The loop over the steps makes only what the next step needs, the gate gradients dgx, dgh and from them dh:
//
//   dgx, dgh, dc, .. = cell backward(dy_t + dh, dc, ..)        dh = W_hh^T dgh (+ the cell's direct path)
//
// With a projection y = W_hr h', dy_t + dh first goes through W_hr^T. How the vectors of these steps are filled is the
// choice of the plan: cpu/backward_units.h or cpu/backward_rows.h.
//
// Gate gradients are kept for one chunk of steps; then the products over all of its rows follow (cpu/gradients.h).
// Chunks follow from the problem alone, so bits do not depend on the number of threads.
//
// What forward did not keep is made again, segment by segment (cpu/recompute.h).
#pragma once

#include "cpu/gradients.h"
#include "cpu/kept.h"
#include "cpu/recompute.h"
#include "cpu/share.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <template <class, class> class Steps, class Cell, class T>
class BackwardPass {
  static constexpr int S = Cell::kStates;
  using Kept = KeptSteps<Cell, const T>;

 public:
  explicit BackwardPass(const cpu::BackwardTask<T>& task)
      : task_(task),
        p_(*task.problem),
        sizes_(p_.sizes),
        clock_{p_.extent, task.row, task.length, sizes_.B},
        carver_(task.workspace),
        zeros_(carver_.template take<T>(zeros())),
        positions_(carver_.template take<int64_t>(task.plan.threads * sizes_.B)),
        chunk_(task, clock_, zeros_, carver_),
        recomputation_(task, clock_, zeros_, carver_),
        steps_(task, clock_, zeros_, chunk_, carver_) {}

  size_t workspace_bytes() const { return carver_.used(); }

  void run(Team& team, int thread) const {
    const int threads = team.size();
    const Share share =
        share_of<T>(sizes_, task_.plan, clock_, Deal::kCards, threads, thread, positions_ + thread * sizes_.B);
    for (int64_t j = thread; j < zeros(); j += threads) zeros_[j] = T(0);
    if (p_.dx) clear_padding(p_.dx, sizes_.I, sizes_, p_.extent, thread, threads);
    chunk_.start(team, thread);
    steps_.start(share, team, thread);
    team.barrier();
    if (p_.checkpoints.steps == 0) {
      if (!go_back(everything(), 0, clock_.steps(), share, team, thread)) return;
    } else {
      for (int64_t end = clock_.steps(), begin; end > 0; end = begin) {
        begin = larger(0, end - p_.checkpoints.steps);
        const Kept kept = recomputation_.run(begin, end, share, team, thread);
        if (Steps<Cell, T>::kReadsOthers && !team.barrier()) return;
        if (!go_back(kept, begin, end, share, team, thread)) return;
      }
    }
    steps_.end(share, team, thread);
    chunk_.end(team, thread);
  }

 private:
  int64_t zeros() const { return larger(larger(padded<T>(sizes_.H), padded<T>(sizes_.P)), sizes_.I); }

  // All steps, as forward kept them.
  Kept everything() const {
    Kept kept{p_.saved, 0, {}, sizes_.B, sizes_.H};
    for (int k = 1; k < S; ++k) kept.entering[k] = p_.state_in[k];
    return kept;
  }

  // Steps [begin, end), chunk by chunk. Chunks are counted back from the last step of all: segments are whole ones.
  // False when the work was stopped.
  bool go_back(const Kept& kept, int64_t begin, int64_t end, const Share& share, Team& team, int thread) const {
    for (int64_t s1 = end, s0; s1 > begin; s1 = s0) {
      s0 = larger(begin, s1 - task_.plan.chunk_steps);
      if (task_.input_progress && !task_.input_progress->wait(clock_.steps() - s0, team, true)) return false;
      int64_t count = 0;  // rows of the chunk, step by step in rising order
      for (int64_t s = s0; s < s1; ++s) count += clock_.live(s);
      steps_.go_back(kept, s0, s1, count, share, team, thread);
      if (!chunk_.add(kept, s0, s1, count, s1 == clock_.steps(), share, team, thread)) return false;
      if (task_.progress) task_.progress->reached(clock_.steps() - s0, team, thread);
    }
    return true;
  }

  const cpu::BackwardTask<T>& task_;
  const BackwardProblem<T>& p_;
  const Sizes sizes_;
  const Clock clock_;
  Carver carver_;
  T* zeros_;            // a state that was None or reset
  int64_t* positions_;  // (threads, B), those of a thread's rows
  const ChunkGradients<Cell, T> chunk_;
  const Recomputation<Cell, T> recomputation_;
  const Steps<Cell, T> steps_;
};

}  // namespace fusedrnn::FUSEDRNN_ISA
