// The pool: threads that wait for work, made when first needed.
//
// run_team(n, ...) runs a function on the calling thread (thread 0) and n - 1 workers and returns when all are done.
// Workers spin for a tenth of a millisecond after a job and then sleep. A pool that is busy with another caller's job,
// asked for one thread, or given no more threads by the system, runs the function on the calling thread alone, as a
// team of one. After a fork the child makes a pool of its own.
//
// Work that may take long can be stopped. run_stoppable_team asks a question every tenth of a second, always on the
// calling thread; when it throws, the team leaves its work where it is, and what was thrown comes out of
// run_stoppable_team. Work that changes its operands in place, so that half of it would be a harm, runs under run_team.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "contract/inline.h"

namespace fusedrnn::cpu {

struct Asking;  // what run_stoppable_team knows of its question

class Team {
 public:
  Team(int size, Asking* asking);
  // Part of another team: stopped when that is. Its thread 0 asks the question if `asks`.
  Team(int size, Team& whole, bool asks);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  FUSEDRNN_INLINE int size() const { return size_; }

  // Returns when every thread of the team has arrived. What any of them wrote before is then visible to all. Whether
  // the work goes on: the same answer for all of them.
  bool barrier();

  // Whether the work goes on, for threads that will not meet any more, or will meet before they leave.
  FUSEDRNN_INLINE bool going() const { return !stopped_->load(std::memory_order_relaxed); }

  // Every thread says now and then what it has done, in cycles as the plan guesses them. The calling thread looks at
  // the clock when they are many, and asks the question when it is time.
  FUSEDRNN_INLINE void worked(int thread, double cycles) {
    if (thread == 0 && (patience_ -= cycles) < 0) ask();
  }
  void ask();  // looks at the clock at once

 private:
  const int size_;
  std::atomic<bool> own_stopped_{false};
  std::atomic<bool>* const stopped_;  // the same for a team and its parts
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) double patience_;  // the calling thread's alone, as is the next
  Asking* const asking_;         // nullptr: never asks
};

using TeamFunction = void (*)(void* context, Team& team, int thread);

void run_team(int threads, TeamFunction function, void* context);
void run_stoppable_team(int threads, TeamFunction function, void* context);

template <class Function>
TeamFunction team_function() {
  return [](void* context, Team& team, int thread) { (*static_cast<Function*>(context))(team, thread); };
}

template <class Function>
void run_team(int threads, Function&& function) {
  run_team(threads, team_function<Function>(), &function);
}

template <class Function>
void run_stoppable_team(int threads, Function&& function) {
  run_stoppable_team(threads, team_function<Function>(), &function);
}

// Parts 0 .. count - 1 of some work side by side, each on a team of `threads` threads; or one after the other on the
// calling thread, where run_stoppable_team would run there alone. May be stopped.
using PartFunction = void (*)(void* context, int part, Team& team, int thread);
void run_teams(int count, int threads, PartFunction function, void* context);

template <class Function>
void run_teams(int count, int threads, Function&& function) {
  const PartFunction call = [](void* context, int part, Team& team, int thread) {
    (*static_cast<std::remove_reference_t<Function>*>(context))(part, team, thread);
  };
  run_teams(count, threads, call, &function);
}

// The question of run_stoppable_team: "should this go on?" It throws if not. It is asked in the floating-point mode
// that the caller had, and may call kernels itself. nullptr: nothing is asked.
using Question = void (*)();
void set_question(Question question);

}  // namespace fusedrnn::cpu
