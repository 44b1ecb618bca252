// The blocks that share all units of a layer, for some rows of one direction: which they are, and how they meet.
#pragma once

#include <cuda_runtime.h>

#include "cuda/barrier.h"
#include "cuda/cluster.h"
#include "cuda/plan.h"

namespace fusedrnn::cuda {

struct Group {
  Tier tier;
  int64_t blocks, slice;  // how many there are, and the place of this one
  int64_t direction;
  int64_t begin, end;           // rows
  unsigned long long* arrived;  // tier grid: where they meet
  uint64_t meetings = 0;

  // Blocks lie direction by direction, group by group.
  __device__ Group(const Plan& plan, int64_t rows, unsigned long long* counters)
      : tier(plan.tier), blocks(plan.slices), slice(blockIdx.x % plan.slices) {
    const int64_t number = blockIdx.x / plan.slices;
    direction = number / plan.groups;
    begin = number % plan.groups * plan.group_rows;
    end = begin + plan.group_rows < rows ? begin + plan.group_rows : rows;
    arrived = counters + number * kCounterPitch;
  }

  // Where what each has written for the others is there for them.
  __device__ void meet() {
    if (tier == Tier::kGrid)
      meet_at(arrived, ++meetings, static_cast<uint64_t>(blocks));
    else if (tier == Tier::kCluster)
      meet_cluster();
    else
      __syncthreads();
  }
};

}  // namespace fusedrnn::cuda
