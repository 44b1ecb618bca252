// The pool: threads that wait for work, made when first needed.
//
// run_team(n, ...) runs a function on the calling thread (thread 0) and n - 1 workers and returns when all are done.
// Workers spin for some tens of microseconds after a job and then sleep. A pool that is busy with another caller's job,
// or asked for one thread, runs the function on the calling thread alone, as a team of one. After a fork the child
// makes a pool of its own.
#pragma once

#include <atomic>
#include <cstdint>

#include "contract/inline.h"

namespace fusedrnn::cpu {

class Team {
 public:
  FUSEDRNN_INLINE explicit Team(int size) : size_(size) {}
  FUSEDRNN_INLINE int size() const { return size_; }
  // Returns when every thread of the team has arrived. What any of them wrote before is then visible to all.
  void barrier();

 private:
  const int size_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
};

using TeamFunction = void (*)(void* context, Team& team, int thread);

void run_team(int threads, TeamFunction function, void* context);

template <class Function>
void run_team(int threads, Function&& function) {
  run_team(
      threads, [](void* context, Team& team, int thread) { (*static_cast<Function*>(context))(team, thread); },
      &function);
}

// How many threads a call may use: FUSEDRNN_NUM_THREADS, else what affinity and the control group allow. Throws
// std::invalid_argument when the variable holds something else than a number of threads.
int num_threads();
void set_num_threads(int threads);  // threads >= 1

// For work that passes over values once: fewer are not worth waking anybody.
FUSEDRNN_INLINE int threads_for(int64_t values) { return values < (1 << 15) ? 1 : num_threads(); }

}  // namespace fusedrnn::cpu
