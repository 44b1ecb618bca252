// The plan: which tier runs the loop of a layer, and how it is cut. A closed-form cost model on the host; nothing is
// executed to find it.
#pragma once

#include <cstdint>
#include <string>

#include "contract/inline.h"

namespace fusedrnn::cuda {

// In the last three one launch runs all steps, and blocks keep their part of the weights in shared memory.
enum class Tier {
  kStep,     // a launch or two for every step, many of them in a graph
  kSolo,     // a block has all units, and hands rows on in its shared memory
  kCluster,  // the blocks of a cluster share the units, and hand rows on in each other's shared memory
  kGrid,     // more blocks share the units, hand rows on in memory, and meet there
};

struct Device {
  int multiprocessors;
  int64_t shared_bytes;  // of a block, at most
  bool cooperative;      // whether all blocks of a launch can be alive together
  int most_cluster;      // blocks of a cluster, at most; 1: there are none
};

// A recurrent product: sums over `depth` for `columns` units of `gates` sums each, for `rows` rows in each of `steps`,
// in so many directions at once.
struct PlanInput {
  int64_t steps, rows, columns, depth;
  int gates, element_bytes;
  bool projection;
  bool tensor = false;  // on tensor cores: always for two bytes a number, and for floats that may be rounded to TF32
  int directions = 1;
  bool graphs = true;  // whether tier step may queue its launches as graphs
};

struct Plan {
  Tier tier = Tier::kStep;
  int directions = 1;      // that run together
  bool graphs = false;     // whether tier step queues kNodes launches at a time, as a graph
  bool tensor = false;     // whether products run on tensor cores
  int units = 0;           // of a block, a multiple of kColumnsAThread
  int64_t slices = 0;      // blocks that share all units
  int64_t groups = 0;      // groups of slices, each with rows of its own, in one direction
  int64_t group_rows = 0;  // rows of a group, the last may have fewer
  double step_us = 0;      // what the model expects a step to take
  double start_us = 0;     // and what comes before the first
  double waves = 1;        // how often groups have to wait for others to end

  // Whether rows go from step to step in shared memory.
  FUSEDRNN_INLINE bool hands_on() const { return tier == Tier::kSolo || tier == Tier::kCluster; }
};

// How many launches of tier step a graph has, see cuda/chain.h.
constexpr int kNodes = 32;

// The shape of a block whose weights are resident, see cuda/slices.h.
constexpr int kResidentThreads = 256;
constexpr int kColumnsAThread = 4;
constexpr int kRowsAThread = 8;

// tier: "" for what the model finds fastest, or the name of the tier to take. Throws std::invalid_argument when that is
// unknown or cannot run the problem. Where two directions are faster one after the other, the plan is that of one.
Plan make_plan(const Device& device, const PlanInput& input, const std::string& tier = "");

std::string describe(const Plan& plan);

}  // namespace fusedrnn::cuda
