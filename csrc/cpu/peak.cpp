// Of backend.h: how many operations a second all threads do together, at most.
#include <chrono>
#include <vector>

#include "cpu/backend.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/threads.h"

namespace fusedrnn::cpu {
namespace {

constexpr int64_t kRounds = 1024;  // a few microseconds between two looks at the clock

struct alignas(64) Share {
  int64_t operations = 0;
};

}  // namespace

template <class T>
double peak(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  const auto kernel = kernels().of<T>().multiply_add;
  std::vector<Share> shares(static_cast<size_t>(num_threads()));
  double taken = 0;
  run_team(num_threads(), [&](Team& team, int thread) {
    T result;
    // Chains tend to 1: far from denormal numbers and from overflow.
    const PeakTask<T> task{kRounds, static_cast<T>(0.5), static_cast<T>(0.5), &result};
    team.barrier();
    const Clock::time_point start = Clock::now();
    int64_t operations = 0;
    do operations += kernel(task);
    while (elapsed(start) < seconds);
    shares[static_cast<size_t>(thread)].operations = operations;
    team.barrier();
    if (thread == 0) taken = elapsed(start);
  });
  double operations = 0;
  for (const Share& share : shares) operations += static_cast<double>(share.operations);
  return operations / taken;
}

template double peak<float>(double);
template double peak<double>(double);

}  // namespace fusedrnn::cpu
