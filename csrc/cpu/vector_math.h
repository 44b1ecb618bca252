// exp, sigmoid, tanh and relu, over one vector or over Two.
//
// exp(x) - 1 on the whole range: x = n ln 2 + r with |r| <= ln(2)/2, p = exp(r) - 1 as a polynomial (relative error of
// the cut 3e-9 in float, 1.2e-17 in double), and exp(x) = 2^n (1 + p). tanh goes through exp(2x) - 1, which keeps it
// accurate near zero, where forming it from sigmoid would lose every digit; in float a polynomial takes over below
// 0.625, which halves the error where most values are. NaN passes through all of them.
//
// n is a by-product of adding 1.5 * 2^23 (in double 2^52): the sum has no bits left for a fraction. With the exponent
// of 1 on top, its last bits are the exponent of 2^n.
#pragma once

#include "cpu/two.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
  static constexpr float kExpLow = -87.0f, kExpHigh = 88.0f;  // 2^n stays a normal number
  static constexpr float kTanhLimit = 20.0f;                  // tanh(10) rounds to 1
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kShift = 12582912.0f + 127.0f;
  // (exp(r) - 1 - r) / r^2: the minimax polynomial
  static constexpr float kExp[] = {0.4999999403953552f, 0.1666652113199234f, 0.04166838899254799f,
                                   0.008368711918592453f, 0.0013814620906487107f};
};

template <>
struct MathConstants<double> {
  static constexpr double kExpLow = -708.0, kExpHigh = 709.0;
  static constexpr double kTanhLimit = 40.0;
  static constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kShift = 6755399441055744.0 + 1023.0;
  // the same by Taylor
  static constexpr double kExp[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                                    1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                                    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
};

// 2^n and p with exp(x) = 2^n (1 + p); x must lie within [kExpLow, kExpHigh] or be NaN.
template <class V>
FUSEDRNN_INLINE void split_exp(V x, V& scale, V& p) {
  using T = typename V::Element;
  using C = MathConstants<T>;
  constexpr int kTerms = sizeof(C::kExp) / sizeof(T);
  const V shifted = fma(x, V(T(1.44269504088896340736)), V(C::kShift));
  const V n = shifted - V(C::kShift);
  const V r = fma(n, V(-C::kLn2Low), fma(n, V(-C::kLn2High), x));
  V q(C::kExp[kTerms - 1]);
  for (int term = kTerms - 2; term >= 0; --term) q = fma(q, r, V(C::kExp[term]));
  p = fma(r * r, q, r);
  scale = last_bits_as_exponent(shifted);
}

template <class V>
FUSEDRNN_INLINE V exp(V x) {
  using C = MathConstants<typename V::Element>;
  V scale, p;
  split_exp(at_most(V(C::kExpHigh), at_least(V(C::kExpLow), x)), scale, p);
  return fma(scale, p, scale);
}

// 1 / (1 + exp(-x))
template <class V>
FUSEDRNN_INLINE V sigmoid(V x) {
  return reciprocal(V(1) + exp(V(0) - x));
}

// x + x^3 P(x^2) for |x| < 0.625: the minimax polynomial, whose relative error is 4.4e-9.
template <class V>
FUSEDRNN_INLINE V tanh_near_zero(V x, V square) {
  V p(-0.00570498771f);
  p = fma(p, square, V(0.0206390881f));
  p = fma(p, square, V(-0.0537397152f));
  p = fma(p, square, V(0.133314422f));
  p = fma(p, square, V(-0.333332819f));
  return fma(x * square, p, x);
}

// (exp(2x) - 1) / (exp(2x) + 1), of |x|: below zero both would be rounded on the scale of 1.
template <class V>
FUSEDRNN_INLINE V tanh(V x) {
  using T = typename V::Element;
  using C = MathConstants<T>;
  const V size = absolute(x);
  V scale, p;
  split_exp(at_most(V(C::kTanhLimit), size + size), scale, p);
  const V e = fma(scale, p, scale - V(1));
  const V far = with_sign(e / (e + V(2)), x);
  if constexpr (sizeof(T) == sizeof(double)) {
    return far;
  } else {
    const V square = x * x;
    return where_less(square, V(0.625f * 0.625f), tanh_near_zero(x, square), far);
  }
}

template <class V>
FUSEDRNN_INLINE V relu(V x) {
  return at_least(V(0), x);
}

}  // namespace fusedrnn::FUSEDRNN_ISA
