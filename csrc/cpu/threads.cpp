#include "cpu/threads.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fusedrnn::cpu {
namespace {

constexpr int kMostThreads = 4096;

// 0 when the user asked for nothing.
int threads_wanted() {
  const char* text = std::getenv("FUSEDRNN_NUM_THREADS");
  if (text == nullptr || *text == '\0') return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 1 || value > kMostThreads)
    throw std::invalid_argument("fusedrnn: FUSEDRNN_NUM_THREADS must be an integer in [1, " +
                                std::to_string(kMostThreads) + "], got '" + text + "'");
  return static_cast<int>(value);
}

int allowed_by_control_group() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return kMostThreads;
  return std::max(1, static_cast<int>(std::strtod(quota.c_str(), nullptr) / period + 0.5));
}

int default_threads() {
  if (const int wanted = threads_wanted()) return wanted;
  int cores = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  cores = std::min(cores, allowed_by_control_group());
#endif
  return cores;
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> setting{default_threads()};
  return setting;
}

}  // namespace

int num_threads() { return thread_setting().load(std::memory_order_relaxed); }

int threads_for(int64_t values) { return values < (1 << 15) ? 1 : num_threads(); }

void set_num_threads(int threads) { thread_setting().store(threads, std::memory_order_relaxed); }

}  // namespace fusedrnn::cpu
