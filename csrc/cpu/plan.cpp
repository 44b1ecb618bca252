#include "cpu/plan.h"

#include <algorithm>

namespace fusedrnn::cpu {
namespace {

// Measured on AVX-512 cores; the choice moves little when they are off by a factor of two.
constexpr double kFmaPerCycle = 2;         // vectors
constexpr double kRowsToSaturate = 4;      // below so many rows a tile waits for loads instead of multiplying
constexpr double kNearBytesPerCycle = 64;  // weights that stay in a core's own cache
constexpr double kFarBytesPerCycle = 12;   // weights that come from the shared cache
constexpr double kExposed = 0.5;           // of loading and multiplying, so much of the shorter is not hidden
constexpr double kNearBytes = 1 << 20;
constexpr double kEpilogueCycles = 40;  // a vector of units: activations and updates
constexpr double kBarrierCycles = 400;
constexpr double kForkCycles = 8000;            // wake the workers, share the work out, join
constexpr int64_t kGateBytes = 512 << 10;       // input products of a chunk, a thread
constexpr int64_t kGradientBytes = 2560 << 10;  // gate gradients of a chunk

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One step of `rows` rows and `groups` groups of units on one thread.
double step_cycles(const PlanInput& in, int64_t rows, int64_t groups, int64_t contraction) {
  const double vectors = static_cast<double>(groups) * in.gates;
  const double bytes = vectors * in.vector_width * in.element_bytes * contraction;
  const double multiply = std::max<double>(rows, kRowsToSaturate) * vectors * contraction / kFmaPerCycle;
  // Steps go through the weights by turns (cpu/tile.h), so what fits into the cache is found there.
  const double load =
      std::min(bytes, kNearBytes) / kNearBytesPerCycle + std::max(0.0, bytes - kNearBytes) / kFarBytesPerCycle;
  return std::max(multiply, load) + kExposed * std::min(multiply, load) + rows * groups * kEpilogueCycles;
}

Plan choose(const PlanInput& in) {
  const Sizes& s = in.sizes;
  const int64_t groups = divide_up(s.H, in.vector_width);
  // The input product and, in backward, the weight gradients ride along with either split; the recurrent product
  // decides.
  Plan best;
  best.step_cycles = step_cycles(in, s.B, groups, s.P);
  double best_total = best.step_cycles * static_cast<double>(s.T);
  for (const Split split : {Split::kRows, Split::kUnits}) {
    const int threads = static_cast<int>(std::min<int64_t>(in.threads, split == Split::kRows ? s.B : groups));
    if (threads < 2) continue;
    const double cycles = split == Split::kRows
                              ? step_cycles(in, divide_up(s.B, threads), groups, s.P)
                              : step_cycles(in, s.B, divide_up(groups, threads), s.P) + kBarrierCycles;
    const double total = cycles * static_cast<double>(s.T) + kForkCycles;
    if (total < best_total) {
      best_total = total;
      best.threads = threads;
      best.split = split;
      best.step_cycles = cycles;
    }
  }
  return best;
}

}  // namespace

Plan plan_forward(const PlanInput& in) {
  Plan plan = choose(in);
  const Sizes& s = in.sizes;
  const int64_t own_rows = plan.split == Split::kRows ? divide_up(s.B, plan.threads) : s.B;
  const int64_t own_units = plan.split == Split::kUnits ? divide_up(s.H, plan.threads) : s.H;
  const int64_t step_bytes = std::max<int64_t>(1, own_rows * own_units * in.gates * in.element_bytes);
  plan.chunk_steps = std::clamp<int64_t>(kGateBytes / step_bytes, 1, std::max<int64_t>(1, s.T));
  return plan;
}

Plan plan_backward(const PlanInput& in) {
  Plan plan = choose(in);
  const Sizes& s = in.sizes;
  const int64_t row_bytes = s.H * in.gates * in.element_bytes * (in.one_gate_gradient ? 1 : 2);
  const int64_t rows = std::clamp<int64_t>(kGradientBytes / row_bytes, 48, 256);
  plan.chunk_steps = std::clamp<int64_t>(rows / std::max<int64_t>(1, s.B), 1, std::max<int64_t>(1, s.T));
  return plan;
}

int64_t segment_steps(const Plan& backward, int64_t T, int64_t every) {
  const int64_t steps = std::min(every, std::max<int64_t>(1, T));
  return divide_up(steps, backward.chunk_steps) * backward.chunk_steps;
}

std::string describe(const Plan& plan) {
  if (plan.threads == 1) return "1 thread, chunks of " + std::to_string(plan.chunk_steps) + " steps";
  return std::to_string(plan.threads) + " threads by " + (plan.split == Split::kRows ? "rows" : "units") +
         ", chunks of " + std::to_string(plan.chunk_steps) + " steps";
}

}  // namespace fusedrnn::cpu
