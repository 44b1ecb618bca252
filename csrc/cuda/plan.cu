#include "cuda/plan.h"

#include <algorithm>
#include <stdexcept>

#include "cuda/slices.h"

namespace fusedrnn::cuda {
namespace {

// Microseconds and rates of the Hopper class; docs/gpu.md says which are measured.
constexpr double kLaunchUs = 2.7;
constexpr double kNodeUs = 1.0;  // a launch within a graph
constexpr double kBarrierUs = 1.1;
constexpr double kGridStartUs = 8;                // a cooperative launch, and what is cleared before it
constexpr double kNumberUs = 0.05;                // a thread loads one weight of the next, divisions included
constexpr double kTurnUs = 1.0;                   // of rows: loading them, two barriers of a block, adding the slices
constexpr double kTermsAUs = 128 * 1700.0;        // multiply-adds of one multiprocessor in float32
constexpr double kSharedPart = 0.5;               // of them from shared memory, tier grid
constexpr double kStreamedPart = 0.35;            // and where tiles of the weights are loaded again, tier step
constexpr double kSharedBytesAUs = 128 * 1700.0;  // one multiprocessor, from its shared memory
constexpr double kFarBytesAUs = 64 * 1700.0;      // one multiprocessor, from the second-level cache
constexpr double kChipBytesAUs = 5500.0e3;        // all of them together
constexpr int64_t kStepUnits = 16, kStepRows = 32, kStepFewRows = 8;  // tiles of tier step
constexpr int kMostUnits = 64;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Multiply-adds of one multiprocessor in a microsecond, at best.
double terms_a_us(const PlanInput& in) { return in.element_bytes == 8 ? kTermsAUs / 2 : kTermsAUs; }

int64_t shared_bytes(const PlanInput& in, int units) {
  switch (in.element_bytes) {
    case 2:
      return grid_shared_bytes<__half>(in.depth, units, in.gates);
    case 4:
      return grid_shared_bytes<float>(in.depth, units, in.gates);
    default:
      return grid_shared_bytes<double>(in.depth, units, in.gates);
  }
}

// What a turn of kRowsAThread rows takes a block of tier grid to multiply: on tensor cores reading the weights decides.
double turn_us(const PlanInput& in, int units) {
  if (in.element_bytes == 2) {
    const TensorSlices<__half> shape(in.depth, units * in.gates);
    return static_cast<double>(shape.columns) * shape.depth_padded * in.element_bytes / kSharedBytesAUs;
  }
  const double weights = static_cast<double>(units) * in.gates * in.depth;
  return weights * kRowsAThread / (terms_a_us(in) * kSharedPart);
}

// Before the first step every thread loads its part of the weights, some numbers at a time.
double start_us(const PlanInput& in, int units) {
  return kGridStartUs + static_cast<double>(units) * in.gates * in.depth / kGridThreads * kNumberUs;
}

bool fits_tasks(const PlanInput& in, int units) {
  using Slices = TensorSlices<__half>;
  const int64_t columns = static_cast<int64_t>(in.gates) * units;
  if (in.element_bytes == 2) return columns <= Slices::kTile * Slices::kTasks * Slices::kWarps;
  return columns / kColumnsAThread <= kGridThreads;
}

double total_us(const Plan& plan, const PlanInput& in) {
  return plan.start_us + static_cast<double>(in.steps) * plan.step_us;
}

Plan step_plan(const Device& device, const PlanInput& in) {
  const int64_t tile_rows = in.rows <= kStepFewRows ? kStepFewRows : kStepRows;
  const int64_t tiles = divide_up(in.columns, kStepUnits) * divide_up(in.rows, tile_rows);
  const int64_t turns = divide_up(tiles, device.multiprocessors);
  const double terms = static_cast<double>(turns) * tile_rows * kStepUnits * in.gates * in.depth;
  const double bytes = static_cast<double>(turns) * (tile_rows + kStepUnits * in.gates) * in.depth * in.element_bytes;
  const int64_t launches = in.projection ? 2 : 1;
  Plan plan;
  plan.graphs = in.graphs && in.steps * launches >= kNodes;
  plan.step_us = static_cast<double>(launches) * (plan.graphs ? kNodeUs : kLaunchUs) +
                 std::max(terms / (terms_a_us(in) * kStreamedPart), bytes / kFarBytesAUs);
  return plan;
}

// With blocks of `units` units; a tier of kStep where that does not go.
Plan grid_plan(const Device& device, const PlanInput& in, int units) {
  Plan plan;
  plan.slices = divide_up(in.columns, units);
  if (in.projection || !device.cooperative || plan.slices > device.multiprocessors || !fits_tasks(in, units) ||
      shared_bytes(in, units) > device.shared_bytes)
    return {};
  plan.tier = Tier::kGrid;
  plan.units = units;
  const int64_t most = std::min(device.multiprocessors / plan.slices, std::max<int64_t>(in.rows, 1));
  plan.group_rows = divide_up(std::max<int64_t>(in.rows, 1), most);
  plan.groups = divide_up(std::max<int64_t>(in.rows, 1), plan.group_rows);
  plan.start_us = start_us(in, units);
  const double turns = static_cast<double>(divide_up(plan.group_rows, kRowsAThread));
  const double bytes = static_cast<double>(plan.group_rows) * in.depth * in.element_bytes;
  const double all_bytes = bytes * static_cast<double>(plan.slices * plan.groups);
  plan.step_us =
      kBarrierUs + turns * (kTurnUs + turn_us(in, units)) + std::max(bytes / kFarBytesAUs, all_bytes / kChipBytesAUs);
  return plan;
}

}  // namespace

Plan make_plan(const Device& device, const PlanInput& input, const std::string& tier) {
  const Plan steps = step_plan(device, input);
  Plan grid;
  for (int units = kColumnsAThread; units <= kMostUnits; units += kColumnsAThread) {
    const Plan plan = grid_plan(device, input, units);
    if (plan.tier == Tier::kGrid && (grid.tier != Tier::kGrid || total_us(plan, input) < total_us(grid, input)))
      grid = plan;
  }
  if (tier == "step") return steps;
  if (tier != "" && tier != "grid")
    throw std::invalid_argument("FUSEDRNN_TIER must be one of step, grid, got '" + tier + "'");
  if (grid.tier != Tier::kGrid) {
    if (tier == "grid")
      throw std::invalid_argument("FUSEDRNN_TIER is grid, which cannot run a projection, nor " +
                                  std::to_string(input.columns) + " units on this GPU");
    return steps;
  }
  return tier == "grid" || total_us(grid, input) < total_us(steps, input) ? grid : steps;
}

std::string describe(const Plan& plan) {
  if (plan.tier == Tier::kStep)
    return "tier step, a launch for every product of a step" +
           (plan.graphs ? ", in graphs of " + std::to_string(kNodes) + " launches" : "");
  return "tier grid, " + std::to_string(plan.groups) + " groups of " + std::to_string(plan.slices) + " blocks with " +
         std::to_string(plan.units) + " units, " + std::to_string(plan.group_rows) + " rows a group";
}

}  // namespace fusedrnn::cuda
