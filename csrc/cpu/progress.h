// How far the threads of one pass have come, for a pass beside it that reads what they write: layers as a wavefront.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace fusedrnn::cpu {

class Team;

// Steps are counted in the order in which passes take them: backward the last one comes first.
class Progress {
 public:
  explicit Progress(int threads) : marks_(threads) {}

  // A thread of the team that writes has done so many steps, and so have the threads that the plan had but the team has
  // not.
  void reached(int64_t steps, const Team& team, int thread);

  // For the team that reads: returns when all threads have done so many steps. Whether the work goes on; with `meet`
  // the same answer for all of the team.
  bool wait(int64_t steps, Team& team, bool meet) const;

 private:
  struct alignas(64) Mark {
    std::atomic<int64_t> steps{0};
  };
  std::vector<Mark> marks_;
};

}  // namespace fusedrnn::cpu
