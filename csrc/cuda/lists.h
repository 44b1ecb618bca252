// Lists of vectors on the device: a step of an optimiser, sums of squares, and clipping by a norm.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "optimisers/registry.h"

namespace fusedrnn::cuda {

template <class T>
struct UpdateItem {
  T* parameter;
  const T* gradient;
  T* state[kMostOptimiserStates];  // nullptr: not kept
  int64_t size;
  double lr, weight_decay;
};

// One step for a list of parameters; `optimiser` indexes kOptimisers. Parameters may share memory, and then count one
// after the other.
template <class T>
void update(int optimiser, const double* numbers, const UpdateItem<T>* items, int64_t count, cudaStream_t stream);

template <class T>
struct Vector {
  T* data;
  int64_t size;
};

constexpr int kSquaresParts = 128;  // sums over parts of a vector

// sums (count): the sum of squares of each vector; parts (count, kSquaresParts) is scratch. Both are on the device.
template <class T>
void sums_of_squares(const Vector<const T>* vectors, int64_t count, double* parts, double* sums, cudaStream_t stream);

// Vectors times min(most / norm, 1) in place, with *norm on the device; all zeros where it is infinite or NaN.
template <class T>
void clip(const Vector<T>* vectors, int64_t count, const double* norm, double most, cudaStream_t stream);

}  // namespace fusedrnn::cuda
