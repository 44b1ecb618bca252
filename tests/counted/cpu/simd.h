// Vectors that count their multiply-adds, in place of csrc/cpu/simd.h: what a product really multiplies.
#pragma once

#include <cstdint>

#include "contract/inline.h"

#define FUSEDRNN_ISA counted

namespace fusedrnn::counted {

constexpr int kAccumulators = 24;

template <class T, int N>
struct Lanes {
  static constexpr int kWidth = N;
  static inline int64_t multiply_adds = 0;
  T v[N];
  Lanes() = default;
  explicit Lanes(T value) {
    for (T& lane : v) lane = value;
  }
  static Lanes load(const T* p) {
    Lanes lanes;
    for (int i = 0; i < N; ++i) lanes.v[i] = p[i];
    return lanes;
  }
  void store(T* p) const {
    for (int i = 0; i < N; ++i) p[i] = v[i];
  }
};

template <class T, int N>
Lanes<T, N> operator+(Lanes<T, N> a, Lanes<T, N> b) {
  for (int i = 0; i < N; ++i) a.v[i] += b.v[i];
  return a;
}

template <class T, int N>
Lanes<T, N> fma(Lanes<T, N> a, Lanes<T, N> b, Lanes<T, N> c) {
  ++Lanes<T, N>::multiply_adds;
  for (int i = 0; i < N; ++i) c.v[i] += a.v[i] * b.v[i];
  return c;
}

template <class T>
using Vec = Lanes<T, 4>;
template <class T>
using Half = Lanes<T, 2>;

}  // namespace fusedrnn::counted
