// The plan: which tier runs the loop of a layer, and how it is cut. A closed-form cost model on the host; nothing is
// executed to find it.
#pragma once

#include <cstdint>
#include <string>

namespace fusedrnn::cuda {

enum class Tier {
  kStep,  // a launch or two for every step, many of them in a graph
  kGrid,  // one launch: blocks keep their part of the weights in shared memory and meet after every step
};

struct Device {
  int multiprocessors;
  int64_t shared_bytes;  // of a block, at most
  bool cooperative;      // whether all blocks of a launch can be alive together
};

// A recurrent product: sums over `depth` for `columns` units of `gates` sums each, for `rows` rows in each of `steps`.
struct PlanInput {
  int64_t steps, rows, columns, depth;
  int gates, element_bytes;  // two bytes are half or bfloat16, whose products run on tensor cores
  bool projection;
  bool graphs = true;  // whether tier step may queue its launches as graphs
};

struct Plan {
  Tier tier = Tier::kStep;
  bool graphs = false;     // whether tier step queues kNodes launches at a time, as a graph
  int units = 0;           // of a block in tier grid, a multiple of kColumnsAThread
  int64_t slices = 0;      // blocks that share all units
  int64_t groups = 0;      // groups of slices, each with rows of its own
  int64_t group_rows = 0;  // rows of a group, the last may have fewer
  double step_us = 0;      // what the model expects a step to take
  double start_us = 0;     // and what comes before the first
};

// How many launches of tier step a graph has, see cuda/chain.h.
constexpr int kNodes = 32;

// The shape of a block in tier grid, see cuda/slices.h.
constexpr int kGridThreads = 256;
constexpr int kColumnsAThread = 4;
constexpr int kRowsAThread = 8;

// tier: "" for what the model finds fastest, or the name of the tier to take. Throws std::invalid_argument when that is
// unknown or cannot run the problem.
Plan make_plan(const Device& device, const PlanInput& input, const std::string& tier = "");

std::string describe(const Plan& plan);

}  // namespace fusedrnn::cuda
