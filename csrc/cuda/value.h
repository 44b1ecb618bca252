// One number on the device, with the vocabulary of cells (cells/registry.h) and of optimisers (optimisers/registry.h).
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "contract/inline.h"

namespace fusedrnn::cuda {

template <class T>
struct Value {
  T number;

  Value() = default;
  FUSEDRNN_INLINE explicit Value(T x) : number(x) {}
  FUSEDRNN_INLINE explicit Value(int x) : number(static_cast<T>(x)) {}

  FUSEDRNN_INLINE friend Value operator+(Value a, Value b) { return Value(a.number + b.number); }
  FUSEDRNN_INLINE friend Value operator-(Value a, Value b) { return Value(a.number - b.number); }
  FUSEDRNN_INLINE friend Value operator*(Value a, Value b) { return Value(a.number * b.number); }
  FUSEDRNN_INLINE friend Value operator/(Value a, Value b) { return Value(a.number / b.number); }
};

FUSEDRNN_INLINE Value<float> sigmoid(Value<float> x) { return Value<float>(1.0f / (1.0f + expf(-x.number))); }
FUSEDRNN_INLINE Value<double> sigmoid(Value<double> x) { return Value<double>(1.0 / (1.0 + ::exp(-x.number))); }

FUSEDRNN_INLINE Value<float> tanh(Value<float> x) { return Value<float>(tanhf(x.number)); }
FUSEDRNN_INLINE Value<double> tanh(Value<double> x) { return Value<double>(::tanh(x.number)); }

// max(x, 0), and NaN for NaN
template <class T>
FUSEDRNN_INLINE Value<T> relu(Value<T> x) {
  return x.number < T(0) ? Value<T>(0) : x;
}

// d where y > 0 or y is NaN, else 0
template <class T>
FUSEDRNN_INLINE Value<T> zero_unless_positive(Value<T> d, Value<T> y) {
  return y.number <= T(0) ? Value<T>(0) : d;
}

FUSEDRNN_INLINE Value<float> sqrt(Value<float> x) { return Value<float>(sqrtf(x.number)); }
FUSEDRNN_INLINE Value<double> sqrt(Value<double> x) { return Value<double>(::sqrt(x.number)); }

// the larger one, and NaN where x is NaN
template <class T>
FUSEDRNN_INLINE Value<T> at_least(Value<T> limit, Value<T> x) {
  return limit.number > x.number ? limit : x;
}

}  // namespace fusedrnn::cuda
