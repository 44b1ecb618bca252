// The plan: how a problem is cut into threads and chunks. A closed-form cost model; nothing is executed to find it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "contract/problem.h"

namespace fusedrnn::cpu {

enum class Split {
  kRows,   // every thread has rows of its own and all units: no barrier between steps
  kUnits,  // every thread has hidden units of its own and, but for what is left over, all rows: one barrier a step
};

enum class Lanes {
  kUnits,  // a vector holds units of one row
  kRows,   // a vector holds one unit of many rows: where units are few
};

struct Plan {
  int threads = 1;
  Split split = Split::kRows;
  int left_sharers = 1;         // of each group of units that does not come out even, by rows (forward)
  Lanes lanes = Lanes::kUnits;  // follows from the problem alone
  int64_t chunk_steps = 1;      // steps whose input products (forward) or weight gradients (backward) are made together
  double step_cycles = 0;       // what the model expects one step to cost a thread, with its input product
  double cycles = 0;            // and all steps, with starting the threads
};

struct PlanInput {
  Sizes sizes;  // I = 0: without input products
  int gates;
  bool one_gate_gradient;  // backward keeps one gate gradient, not two
  int element_bytes;
  int vector_width;
  int threads;  // as many as may be used
};

Plan plan_forward(const PlanInput& input);

// chunk_steps follows from the problem alone, since it orders the sums of the weight gradients: same bits for any
// threads.
Plan plan_backward(const PlanInput& input);

// Steps of a segment between checkpoints: at least `every` >= 1, or all of them, and whole chunks of the backward pass,
// so that the sums of the weight gradients are those without checkpoints.
int64_t segment_steps(const Plan& backward, int64_t T, int64_t every);

// Two problems, both of this size: whether to run them side by side, each as `half` says, or one after the other, each
// as `whole` says.
bool side_by_side(const Plan& whole, const Plan& half);

// Layers as a wavefront, each as its plan says: while one is in some steps, the one above it is in earlier ones.
// Shortens the chunks of plans (forward) so that they overlap; those of backward follow from the problem. The cycles
// that it is expected to take; infinity where a plan cannot go along.
double make_wave(std::vector<Plan>& plans, const Sizes& sizes, bool backward);

std::string describe(const Plan& plan, bool backward);

}  // namespace fusedrnn::cpu
