#include "cuda/plan.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <stdexcept>

#include "cuda/slices.h"

namespace fusedrnn::cuda {
namespace {

// Microseconds and rates of the Hopper class; docs/gpu.md says which are measured.
constexpr double kLaunchUs = 2.7;
constexpr double kNodeUs = 1.0;                   // a launch within a graph
constexpr double kGridStartUs = 8;                // a cooperative launch, and what is cleared before it
constexpr double kNumberUs = 0.05;                // a thread loads one weight of the next, divisions included
constexpr double kSoloMeetUs = 0.05;              // where the blocks of a group meet after a step
constexpr double kClusterMeetUs = 0.4;            //
constexpr double kGridMeetUs = 1.1;               //
constexpr double kTurnUs = 1.0;                   // of rows: loading them, two barriers of a block, adding the slices
constexpr double kHeldTurnUs = 0.4;               // the same where the rows are in shared memory
constexpr double kHandedOnAUs = 32 / 4 * 1700.0;  // numbers that a block puts into the shared memory of others
constexpr double kTermsAUs = 128 * 1700.0;        // multiply-adds of one multiprocessor in float32
constexpr double kSharedPart = 0.5;               // of them from shared memory
constexpr double kStreamedPart = 0.35;            // and where tiles of the weights are loaded again, tier step
constexpr double kTensorBytesAUs = 600 * 1700.0;  // of one factor, one multiprocessor on tensor cores, tier step
constexpr double kSharedBytesAUs = 128 * 1700.0;  // one multiprocessor, from its shared memory
constexpr double kFarBytesAUs = 64 * 1700.0;      // one multiprocessor, from the second-level cache
constexpr double kChipBytesAUs = 5500.0e3;        // all of them together
constexpr int64_t kStepUnits = 16, kStepRows = 32, kStepFewRows = 8;  // tiles of tier step
constexpr int64_t kTensorUnits = 64, kPieceBytes = 16;                // see cuda/tensor_tiles.h
constexpr int kMostUnits = 64;                                        // of a block in tier grid
constexpr int kClusters[] = {2, 4, 8, 16};
constexpr int kTogether = 16;  // multiprocessors that clusters may be cut from; each has a few more

struct TierName {
  Tier tier;
  const char* name;
};
constexpr TierName kNames[] = {
    {Tier::kStep, "step"}, {Tier::kSolo, "solo"}, {Tier::kCluster, "cluster"}, {Tier::kGrid, "grid"}};

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Multiply-adds of one multiprocessor in a microsecond, at best.
double terms_a_us(const PlanInput& in) { return in.element_bytes == 8 ? kTermsAUs / 2 : kTermsAUs; }

template <class Product>
int64_t room_bytes(const PlanInput& in, const Plan& plan) {
  return ResidentRoom<Product>(in.depth, plan.units * in.gates, plan).bytes();
}

int64_t shared_bytes(const PlanInput& in, const Plan& plan) {
  if (in.element_bytes == 2) return room_bytes<TensorSlices<__half>>(in, plan);
  if (in.element_bytes == 8) return room_bytes<ScalarSlices<double>>(in, plan);
  return plan.tensor ? room_bytes<TensorSlices<float>>(in, plan) : room_bytes<ScalarSlices<float>>(in, plan);
}

// What a turn of kRowsAThread rows takes a block to multiply: on tensor cores reading the weights decides.
double turn_us(const PlanInput& in, const Plan& plan) {
  if (plan.tensor) {
    const TensorSlices<__half> shape(in.depth, plan.units * in.gates, false);
    return static_cast<double>(shape.columns) * shape.depth_padded * in.element_bytes / kSharedBytesAUs;
  }
  const double weights = static_cast<double>(plan.units) * in.gates * static_cast<double>(in.depth);
  const auto rows = std::bit_ceil(static_cast<uint64_t>(std::min<int64_t>(plan.group_rows, kRowsAThread)));
  return weights * static_cast<double>(rows) / (terms_a_us(in) * kSharedPart);
}

bool fits_threads(const PlanInput& in, const Plan& plan) {
  using Slices = TensorSlices<__half>;
  const int64_t columns = static_cast<int64_t>(in.gates) * plan.units;
  if (plan.tensor) return columns <= int64_t{Slices::kTile} * Slices::kTilesAWarp * Slices::kWarps;
  return columns / kColumnsAThread <= kResidentThreads;
}

double total_us(const Plan& plan, const PlanInput& in) {
  return plan.waves * (plan.start_us + static_cast<double>(in.steps) * plan.step_us);
}

Plan step_plan(const Device& device, const PlanInput& in) {
  Plan plan;
  plan.tensor = in.tensor && !in.projection && in.depth * in.element_bytes % kPieceBytes == 0;
  const int64_t tile_rows = !plan.tensor && in.rows <= kStepFewRows ? kStepFewRows : kStepRows;
  const int64_t tile_units = plan.tensor && in.gates == 1 ? kTensorUnits : kStepUnits;
  const int64_t tiles = divide_up(in.columns, tile_units) * divide_up(in.rows, tile_rows) * in.directions;
  const int64_t turns = divide_up(tiles, device.multiprocessors);
  const double terms = static_cast<double>(turns) * tile_rows * tile_units * in.gates * in.depth;
  const double bytes = static_cast<double>(turns) * (tile_rows + tile_units * in.gates) * in.depth * in.element_bytes;
  const double terms_us = plan.tensor ? kTensorBytesAUs / in.element_bytes : terms_a_us(in) * kStreamedPart;
  const int64_t launches = in.projection ? 2 : 1;
  plan.graphs = in.graphs && in.steps * launches >= kNodes;
  plan.step_us = static_cast<double>(launches) * (plan.graphs ? kNodeUs : kLaunchUs) +
                 std::max(terms / terms_us, bytes / kFarBytesAUs);
  return plan;
}

// How many groups of `slices` blocks are alive together.
int64_t groups_together(const Device& device, Tier tier, int64_t slices) {
  if (tier != Tier::kCluster || device.multiprocessors < kTogether) return device.multiprocessors / slices;
  return device.multiprocessors / kTogether * (kTogether / slices);
}

// What hands a step's rows on: waiting for one another, and putting or fetching them.
double exchange_us(const PlanInput& in, const Plan& plan) {
  const double rows = static_cast<double>(plan.group_rows), depth = static_cast<double>(in.depth);
  if (plan.tier == Tier::kSolo) return kSoloMeetUs;
  if (plan.tier == Tier::kCluster) return kClusterMeetUs + rows * depth / kHandedOnAUs;
  const double bytes = rows * depth * in.element_bytes;
  const double all_bytes = bytes * static_cast<double>(plan.slices * plan.groups * in.directions);
  return kGridMeetUs + std::max(bytes / kFarBytesAUs, all_bytes / kChipBytesAUs);
}

// With `slices` blocks of `units` units each that share all units; nothing where that does not go.
std::optional<Plan> resident_plan(const Device& device, const PlanInput& in, Tier tier, int64_t slices, int units) {
  Plan plan;
  plan.tier = tier, plan.tensor = in.tensor, plan.slices = slices, plan.units = units;
  const int64_t together = groups_together(device, tier, slices) / in.directions;
  if (in.projection || together < 1 || !fits_threads(in, plan)) return {};
  const int64_t rows = std::max<int64_t>(in.rows, 1);
  plan.group_rows = divide_up(rows, std::min(together, rows));
  while (shared_bytes(in, plan) > device.shared_bytes) {
    if (!plan.hands_on() || plan.group_rows <= kRowsAThread) return {};
    plan.group_rows = (plan.group_rows - 1) / kRowsAThread * kRowsAThread;
  }
  plan.groups = divide_up(rows, plan.group_rows);
  plan.waves = static_cast<double>(divide_up(plan.groups, together));
  const double weights = static_cast<double>(units) * in.gates * static_cast<double>(in.depth);
  plan.start_us = (tier == Tier::kGrid ? kGridStartUs : kLaunchUs) + weights / kResidentThreads * kNumberUs;
  const double turns = static_cast<double>(divide_up(plan.group_rows, kRowsAThread));
  plan.step_us = turns * ((plan.hands_on() ? kHeldTurnUs : kTurnUs) + turn_us(in, plan)) + exchange_us(in, plan);
  return plan;
}

// The fastest plan of a tier, if it can run the problem.
std::optional<Plan> best_of(const Device& device, const PlanInput& in, Tier tier) {
  if (tier == Tier::kStep) return step_plan(device, in);
  std::optional<Plan> best;
  const auto consider = [&](int64_t slices, int64_t units) {
    if (units > kResidentThreads * kColumnsAThread) return;  // no block has the threads
    const auto plan = resident_plan(device, in, tier, slices, round_up(units, kColumnsAThread));
    if (plan && (!best || total_us(*plan, in) < total_us(*best, in))) best = plan;
  };
  if (tier == Tier::kSolo) {
    consider(1, in.columns);
  } else if (tier == Tier::kCluster) {
    for (const int slices : kClusters)
      if (slices <= device.most_cluster) consider(slices, divide_up(in.columns, slices));
  } else if (device.cooperative) {
    for (int units = kColumnsAThread; units <= kMostUnits; units += kColumnsAThread)
      consider(divide_up(in.columns, units), units);
  }
  return best;
}

Plan plan_together(const Device& device, const PlanInput& input, const std::string& tier) {
  std::optional<Plan> best;
  std::string names;
  for (const auto& [known, name] : kNames) {
    names += (names.empty() ? "" : ", ") + std::string(name);
    if (tier != "" && tier != name) continue;
    const auto plan = best_of(device, input, known);
    if (plan && (!best || total_us(*plan, input) < total_us(*best, input))) best = plan;
    if (!plan && tier == name)
      throw std::invalid_argument("FUSEDRNN_TIER is " + tier + ", which cannot run a projection, nor " +
                                  std::to_string(input.columns) + " units on this GPU");
  }
  if (!best) throw std::invalid_argument("FUSEDRNN_TIER must be one of " + names + ", got '" + tier + "'");
  best->directions = input.directions;
  return *best;
}

}  // namespace

Plan make_plan(const Device& device, const PlanInput& input, const std::string& tier) {
  const Plan together = plan_together(device, input, tier);
  if (input.directions == 1) return together;
  PlanInput one = input;
  one.directions = 1;
  const Plan alone = plan_together(device, one, tier);
  return total_us(together, input) <= 2 * total_us(alone, one) ? together : alone;
}

std::string describe(const Plan& plan) {
  if (plan.tier == Tier::kStep)
    return "tier step, a launch for every product of a step" + std::string(plan.tensor ? " on tensor cores" : "") +
           (plan.graphs ? ", in graphs of " + std::to_string(kNodes) + " launches" : "");
  const auto count = [](int64_t number, const std::string& of) {
    return std::to_string(number) + " " + of + (number == 1 ? "" : "s");
  };
  const char* name = "";
  for (const auto& [known, its_name] : kNames)
    if (known == plan.tier) name = its_name;
  return "tier " + std::string(name) + ", " + count(plan.groups, "group") + " of " + count(plan.slices, "block") +
         " with " + count(plan.units, "unit") + ", " + count(plan.group_rows, "row") + " a group" +
         (plan.tensor ? ", on tensor cores" : "");
}

}  // namespace fusedrnn::cuda
