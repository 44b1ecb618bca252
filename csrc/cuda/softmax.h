// The softmax in the loss on the device, with maximum and sum of each row.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fusedrnn::cuda {

// A target outside [0, columns) makes `chosen`, and with it the loss, NaN, and the gradient of the row as well. A NaN
// in a row makes its sum NaN.
template <class T>
struct Softmax {
  int64_t rows, columns;
  const T* x;              // (rows, columns)
  const int64_t* targets;  // (rows)
  const T* factors;        // (rows): what exponentials are multiplied by, or the c of a row; nullptr: no gradient
  const T* shifts;         // (rows): what is taken from the column of the target; softmax_gradient alone
  T* out;                  // (rows, columns), may be x
  T* maxima;               // (rows)
  T* sums;                 // (rows), of the exponentials
  T* chosen;               // (rows), x of the target
};

// out = exp(x - maxima), with maxima, sums and chosen.
template <class T>
void exponentials(const Softmax<T>& problem, cudaStream_t stream);

// out = factor of the row times x, less its shift in the column of the target; zeros where the shift is 0.
template <class T>
void softmax_gradient(const Softmax<T>& problem, cudaStream_t stream);

// out = factor of the row times (softmax(x) - [column is the target]), zeros where the factor is 0; with maxima, sums
// and chosen. Without factors out is left undefined.
template <class T>
void cross_entropy(const Softmax<T>& problem, cudaStream_t stream);

}  // namespace fusedrnn::cuda
