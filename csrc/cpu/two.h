// Two vectors as one value. A cell is a chain of dependent instructions; two of them side by side keep a core busy
// where one would wait for itself.
#pragma once

#include "cpu/simd.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
struct Two {
  using Element = T;
  Vec<T> first, second;
  FUSEDRNN_INLINE Two() = default;
  FUSEDRNN_INLINE Two(Vec<T> one, Vec<T> other) : first(one), second(other) {}
  FUSEDRNN_INLINE explicit Two(T value) : first(value), second(value) {}
  FUSEDRNN_INLINE explicit Two(int value) : first(value), second(value) {}
};

// The first or the second vector of a value.
template <class T>
FUSEDRNN_INLINE Vec<T>& part(Two<T>& value, int n) {
  return n == 0 ? value.first : value.second;
}
template <class T>
FUSEDRNN_INLINE Vec<T>& part(Vec<T>& value, int) {
  return value;
}

// clang-format off
template <class T> FUSEDRNN_INLINE Two<T> operator+(Two<T> a, Two<T> b) { return {a.first + b.first, a.second + b.second}; }
template <class T> FUSEDRNN_INLINE Two<T> operator-(Two<T> a, Two<T> b) { return {a.first - b.first, a.second - b.second}; }
template <class T> FUSEDRNN_INLINE Two<T> operator*(Two<T> a, Two<T> b) { return {a.first * b.first, a.second * b.second}; }
template <class T> FUSEDRNN_INLINE Two<T> operator/(Two<T> a, Two<T> b) { return {a.first / b.first, a.second / b.second}; }
// clang-format on
template <class T>
FUSEDRNN_INLINE Two<T> fma(Two<T> a, Two<T> b, Two<T> c) {
  return {fma(a.first, b.first, c.first), fma(a.second, b.second, c.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> at_most(Two<T> limit, Two<T> x) {
  return {at_most(limit.first, x.first), at_most(limit.second, x.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> at_least(Two<T> limit, Two<T> x) {
  return {at_least(limit.first, x.first), at_least(limit.second, x.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> last_bits_as_exponent(Two<T> x) {
  return {last_bits_as_exponent(x.first), last_bits_as_exponent(x.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> absolute(Two<T> x) {
  return {absolute(x.first), absolute(x.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> with_sign(Two<T> x, Two<T> y) {
  return {with_sign(x.first, y.first), with_sign(x.second, y.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> reciprocal(Two<T> x) {
  return {reciprocal(x.first), reciprocal(x.second)};
}
template <class T>
FUSEDRNN_INLINE Two<T> where_less(Two<T> x, Two<T> limit, Two<T> a, Two<T> b) {
  return {where_less(x.first, limit.first, a.first, b.first), where_less(x.second, limit.second, a.second, b.second)};
}

}  // namespace fusedrnn::FUSEDRNN_ISA
