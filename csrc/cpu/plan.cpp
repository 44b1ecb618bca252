#include "cpu/plan.h"

#include <algorithm>
#include <limits>

namespace fusedrnn::cpu {
namespace {

// Measured on AVX-512 cores; the choice moves little when they are off by a factor of two.
constexpr double kFmaPerCycle = 2;         // vectors
constexpr double kRowsToSaturate = 4;      // below so many rows a tile waits for loads instead of multiplying
constexpr int64_t kRowsTogether = 24;      // rows that a run of weights is loaded for once, see cpu/tile.h
constexpr double kNearBytesPerCycle = 64;  // weights that stay in a core's own cache
constexpr double kFarBytesPerCycle = 12;   // weights that come from the shared cache
constexpr double kExposed = 0.5;           // of loading and multiplying, so much of the shorter is not hidden
constexpr double kNearBytes = 1 << 20;
constexpr double kEpilogueCycles = 40;  // a vector of units: activations and updates
constexpr double kMoving = 1.5;  // what rows in lanes cost more, since all that is read and written changes places
constexpr double kBarrierCycles = 400;
constexpr double kUneven = 0.05;  // of a step, by which the slowest thread is later than the others: all wait for it
constexpr int64_t kWaves = 16;    // chunks of layers as a wavefront: the last layer begins so much later than the first
constexpr double kForkCycles = 24000;               // wake the workers, who may be asleep, share the work out, join
constexpr double kExchangeCycles = 16000;           // backward, a chunk: meet, and read what the others have made
constexpr double kBackwardWork = 2;                 // of backward over forward
constexpr int64_t kGateBytes = 256 << 10;           // input products of a chunk, a thread
constexpr int64_t kInputRows = 64;                  // and so many rows at least, to share the weights
constexpr int64_t kNearGradientBytes = 2560 << 10;  // gate gradients of a chunk that stay near
constexpr int64_t kNearRows = 256;
constexpr int64_t kFarGradientBytes = 16 << 20;  // and of one where they do not
constexpr int64_t kFarRows = 1152;
constexpr int64_t kFarWork = int64_t{1} << 34;  // multiply-adds that follow a chunk and cannot be stopped: .25 s
constexpr double kTimesFar = 6.5;  // that those pass between caches: as they are and transposed, in and out

enum class Pass { kForward, kBackward };

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Steps whose input products a thread with so many rows and units makes together.
int64_t chunk_of(const PlanInput& in, int64_t rows, int64_t units) {
  const int64_t step_bytes = std::max<int64_t>(1, rows * units * in.gates * in.element_bytes);
  const int64_t steps = std::max(kGateBytes / step_bytes, divide_up(kInputRows, std::max<int64_t>(1, rows)));
  return std::clamp<int64_t>(steps, 1, std::max<int64_t>(1, in.sizes.T));
}

// The product of `rows` rows with the panels of `groups` groups of units on one thread.
double product_cycles(const PlanInput& in, int64_t rows, int64_t groups, int64_t contraction) {
  if (rows == 0) return 0;
  const double vectors = static_cast<double>(groups) * in.gates;
  const double bytes = vectors * in.vector_width * in.element_bytes * contraction;
  const double multiply = std::max<double>(rows, kRowsToSaturate) * vectors * contraction / kFmaPerCycle;
  // Steps go through the weights by turns (cpu/tile.h), so what fits into the near cache is found there.
  const double load = static_cast<double>(divide_up(rows, kRowsTogether)) * bytes / kNearBytesPerCycle +
                      std::max(0.0, bytes - kNearBytes) / kFarBytesPerCycle;
  return std::max(multiply, load) + kExposed * std::min(multiply, load);
}

// One step of a thread that has `rows` rows and `units` units, with the input products of a chunk shared out among its
// steps.
double step_cycles(const PlanInput& in, int64_t rows, int64_t units) {
  const int64_t groups = divide_up(units, in.vector_width), chunk = chunk_of(in, rows, units);
  return product_cycles(in, rows, groups, in.sizes.P) + rows * groups * kEpilogueCycles +
         product_cycles(in, rows * chunk, groups, in.sizes.I) / static_cast<double>(chunk);
}

// How many threads share each of the groups of units that do not come out even, by rows. With few rows one has it
// alone, and with one gate: a group by itself then has too few sums to keep the multipliers busy.
int sharers(const PlanInput& in, int64_t groups, int threads) {
  const int64_t left = groups % threads, enough_rows = in.sizes.B / static_cast<int64_t>(kRowsToSaturate);
  if (left == 0 || in.gates == 1) return 1;
  return static_cast<int>(std::clamp<int64_t>(enough_rows, 1, threads / left));
}

// One step of the slowest of threads that split the units. Who shares a group reads all of its weights, which is left
// out.
double step_cycles_of_units(const PlanInput& in, int64_t groups, int threads, int left_sharers) {
  const int64_t B = in.sizes.B;
  const double slowest = step_cycles(in, B, divide_up(in.sizes.H, threads));
  if (left_sharers == 1) return slowest;
  const double rows = static_cast<double>(divide_up(B, left_sharers)) / static_cast<double>(B);
  return slowest * rows + step_cycles(in, B, groups / threads * in.vector_width) * (1 - rows);
}

bool rows_in_lanes(const PlanInput& in) {
  const Sizes& s = in.sizes;
  const int64_t by_units = s.B * divide_up(s.H, in.vector_width), by_rows = divide_up(s.B, in.vector_width) * s.H;
  return in.vector_width > 1 && kMoving * static_cast<double>(by_rows) < static_cast<double>(by_units);
}

// overhead, here and below: cycles that threads cost a call, whatever its steps.
Plan choose_for_rows_in_lanes(const PlanInput& in, double overhead) {
  const Sizes& s = in.sizes;
  const int64_t blocks = divide_up(s.B, in.vector_width);
  const double multiply = static_cast<double>(in.gates * (s.I + s.P)) / kFmaPerCycle;
  const double block_cycles = kMoving * static_cast<double>(s.H) * (multiply + kEpilogueCycles);
  const int threads = static_cast<int>(std::min<int64_t>(in.threads, blocks));
  const double alone = block_cycles * static_cast<double>(blocks);
  const double together = block_cycles * static_cast<double>(divide_up(blocks, std::max(1, threads)));
  const bool fork = static_cast<double>(s.T) * (alone - together) > overhead;
  Plan plan;
  plan.lanes = Lanes::kRows;
  plan.threads = fork ? threads : 1;
  plan.step_cycles = fork ? together : alone;
  plan.cycles = static_cast<double>(s.T) * plan.step_cycles + (fork ? overhead : 0);
  return plan;
}

Plan choose(const PlanInput& in, Pass pass, double overhead) {
  if (rows_in_lanes(in)) return choose_for_rows_in_lanes(in, overhead);
  const Sizes& s = in.sizes;
  const int64_t groups = divide_up(s.H, in.vector_width);
  Plan best;
  best.step_cycles = step_cycles(in, s.B, s.H);
  best.cycles = best.step_cycles * static_cast<double>(s.T);
  for (const Split split : {Split::kRows, Split::kUnits}) {
    const int64_t parts = split == Split::kRows ? s.B : groups;
    const int threads = static_cast<int>(std::min<int64_t>(in.threads, parts));
    if (threads < 2) continue;
    const bool by_rows = split == Split::kRows;
    const int left_sharers = by_rows || pass == Pass::kBackward ? 1 : sharers(in, groups, threads);
    const double cycles =
        by_rows ? step_cycles(in, divide_up(s.B, threads), s.H)
                : (1 + kUneven) * step_cycles_of_units(in, groups, threads, left_sharers) + kBarrierCycles;
    const double total = cycles * static_cast<double>(s.T) + overhead;
    if (total < best.cycles) {
      best.cycles = total;
      best.threads = threads;
      best.split = split;
      best.left_sharers = left_sharers;
      best.step_cycles = cycles;
    }
  }
  return best;
}

// Steps of a chunk of backward. Each chunk adds to the weight gradients, the first one only writes them: where these
// are large, it pays to let the gate gradients of long chunks leave the near cache.
int64_t gradient_steps(const PlanInput& in) {
  const Sizes& s = in.sizes;
  const int64_t T = std::max<int64_t>(1, s.T), B = std::max<int64_t>(1, s.B);
  const int64_t gate_bytes = s.H * in.gates * in.element_bytes;
  const int64_t row_bytes = gate_bytes * (in.one_gate_gradient ? 1 : 2);
  const int64_t near_rows = std::clamp<int64_t>(kNearGradientBytes / row_bytes, 48, kNearRows);
  const double all_rows = static_cast<double>(T) * static_cast<double>(B);
  if (2 * all_rows <= 3 * static_cast<double>(near_rows)) return T;
  const int64_t near = std::clamp<int64_t>(near_rows / B, 1, T);
  const int64_t row_work = s.H * in.gates * (2 * s.I + s.P);  // weight gradients and dx
  const int64_t far_rows = std::min({kFarGradientBytes / row_bytes, kFarRows, kFarWork / row_work});
  const int64_t far = std::clamp<int64_t>(far_rows / B, near, T);
  const double weights = static_cast<double>(gate_bytes) * static_cast<double>(s.I + s.P);
  const double near_bytes = weights * static_cast<double>(2 * divide_up(T, near) - 1);
  const double far_bytes =
      weights * static_cast<double>(2 * divide_up(T, far) - 1) + kTimesFar * static_cast<double>(row_bytes) * all_rows;
  return far_bytes < near_bytes ? far : near;
}

}  // namespace

Plan plan_forward(const PlanInput& in) {
  Plan plan = choose(in, Pass::kForward, kForkCycles);
  const Sizes& s = in.sizes;
  plan.chunk_steps = plan.split == Split::kRows ? chunk_of(in, divide_up(s.B, plan.threads), s.H)
                                                : chunk_of(in, s.B, divide_up(s.H, plan.threads));
  return plan;
}

Plan plan_backward(const PlanInput& in) {
  const Sizes& s = in.sizes;
  const int64_t chunk = gradient_steps(in);
  // Cycles are those of forward: what comes on top counts half.
  const double overhead = kForkCycles + static_cast<double>(divide_up(s.T, chunk)) * kExchangeCycles;
  Plan plan = choose(in, Pass::kBackward, overhead / kBackwardWork);
  plan.chunk_steps = chunk;
  return plan;
}

int64_t segment_steps(const Plan& backward, int64_t T, int64_t every) {
  const int64_t steps = std::min(every, std::max<int64_t>(1, T));
  return divide_up(steps, backward.chunk_steps) * backward.chunk_steps;
}

bool side_by_side(const Plan& whole, const Plan& half) {
  return (half.threads > 1 ? half.cycles : half.cycles + kForkCycles) < 2 * whole.cycles;
}

double make_wave(std::vector<Plan>& plans, const Sizes& sizes, bool backward) {
  const int64_t T = std::max<int64_t>(1, sizes.T);
  // Long enough for the input products of a chunk to share the weights.
  const int64_t steps = std::max(divide_up(kRowsTogether, std::max<int64_t>(1, sizes.B)), divide_up(T, kWaves));
  double slowest = 0, chunk = 0;
  for (Plan& plan : plans) {
    if (plan.lanes == Lanes::kRows) return std::numeric_limits<double>::infinity();
    if (!backward) plan.chunk_steps = std::min(plan.chunk_steps, steps);
    slowest = std::max(slowest, plan.cycles - (plan.threads > 1 ? kForkCycles : 0));  // all are woken at once
    chunk = std::max(chunk, static_cast<double>(plan.chunk_steps) / static_cast<double>(T));
  }
  return slowest * (1 + static_cast<double>(plans.size() - 1) * chunk) + kForkCycles;
}

std::string describe(const Plan& plan, bool backward) {
  std::string text = plan.threads == 1 ? "1 thread" : std::to_string(plan.threads) + " threads by ";
  if (plan.threads > 1) text += plan.split == Split::kRows ? "rows" : "units";
  if (plan.left_sharers > 1) text += ", those left over by rows";
  if (plan.lanes == Lanes::kRows) text += ", rows in lanes";
  if (plan.lanes == Lanes::kRows && !backward) return text;  // one step at a time
  return text + ", chunks of " + std::to_string(plan.chunk_steps) + " steps";
}

}  // namespace fusedrnn::cpu
