// The CUDA backend: what the bindings call. Everything is queued on the caller's stream and nothing waits.
#pragma once

#include <cuda_runtime.h>

#include "contract/philox.h"
#include "cuda/number.h"
#include "cuda/plan.h"
#include "cuda/problem.h"

namespace fusedrnn::cuda {

// The GPU that is current.
Device current_device();

// How many numbers Host::arrived has.
int64_t arrived_numbers(const Device& device);

// What the loops need beside the problem.
struct Host {
  const int64_t* first;         // Rows::first in host memory, nullptr without lengths
  unsigned long long* arrived;  // (arrived_numbers of the device) there: counters where groups of blocks meet
  cudaStream_t stream;
};

// The loops; `cell` indexes kCells.
template <class T>
void forward(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host);
template <class T>
void backward(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host);

// A sum of rows by id.
template <class T>
struct SumById {
  int64_t columns, table_rows;
  const T* x;             // (rows, columns)
  const int64_t* order;   // (rows): the rows by rising id, those of one id in rising order
  const int64_t* starts;  // (table_rows + 1): where in order an id begins
  T* out;                 // (table_rows, columns)
};

template <class T>
void sum_by_id(const SumById<T>& problem, cudaStream_t stream);

// A dropout, with dense arrays (steps, rows, columns).
template <class T>
struct Dropout {
  int64_t steps, rows, columns;
  const T* x;
  T* out;
  uint64_t threshold;  // words from here on are kept
  Wide<T> scale;       // 1 / (1 - p)
  MaskCoordinates mask;
};

template <class T>
void dropout(const Dropout<T>& problem, cudaStream_t stream);

}  // namespace fusedrnn::cuda
