#include "cpu/progress.h"

#include <thread>

#include "cpu/pool.h"
#include "cpu/relax.h"

namespace fusedrnn::cpu {

void Progress::reached(int64_t steps, const Team& team, int thread) {
  for (size_t i = thread; i < marks_.size(); i += team.size()) marks_[i].steps.store(steps, std::memory_order_release);
}

bool Progress::wait(int64_t steps, Team& team, bool meet) const {
  for (const Mark& mark : marks_)
    for (int spins = 0; mark.steps.load(std::memory_order_acquire) < steps && team.going(); ++spins) {
      relax();
      if (spins > 2000) std::this_thread::yield();  // more threads than cores: let the others arrive
    }
  return meet ? team.barrier() : team.going();
}

}  // namespace fusedrnn::cpu
