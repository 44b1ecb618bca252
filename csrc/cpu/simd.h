// Vectors of float and double for the instruction set that this file is compiled for: Vec<float>, Vec<double>.
//
// Everything lives in the namespace of that instruction set, so that code of two sets never shares a name. The scalar
// set is a vector of width 1. A vector of n < kWidth live lanes is read with load_partial (the rest is zero) and
// written with store_partial (the rest is not touched).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "contract/inline.h"

#if defined(FUSEDRNN_AVX512)
#define FUSEDRNN_ISA avx512
#include <immintrin.h>
#elif defined(FUSEDRNN_AVX2)
#define FUSEDRNN_ISA avx2
#include <immintrin.h>
#else
#define FUSEDRNN_ISA scalar
#endif

namespace fusedrnn::FUSEDRNN_ISA {

template <class T>
struct Vec;

#if defined(FUSEDRNN_AVX512)

constexpr int kAccumulators = 24;  // of 32 registers; the rest holds weights and one broadcast

template <>
struct Vec<float> {
  using Element = float;
  static constexpr int kWidth = 16;
  __m512 v;
  FUSEDRNN_INLINE Vec() = default;
  FUSEDRNN_INLINE Vec(__m512 value) : v(value) {}
  FUSEDRNN_INLINE explicit Vec(float value) : v(_mm512_set1_ps(value)) {}
  FUSEDRNN_INLINE explicit Vec(int value) : v(_mm512_set1_ps(static_cast<float>(value))) {}
  FUSEDRNN_INLINE static __mmask16 mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  FUSEDRNN_INLINE static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  FUSEDRNN_INLINE static Vec load_partial(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  FUSEDRNN_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  FUSEDRNN_INLINE void store_partial(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, mask(n), v); }
};
FUSEDRNN_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return _mm512_add_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return _mm512_sub_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return _mm512_mul_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return _mm512_div_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
// NaN in x passes through both.
FUSEDRNN_INLINE Vec<float> at_most(Vec<float> limit, Vec<float> x) { return _mm512_min_ps(limit.v, x.v); }
FUSEDRNN_INLINE Vec<float> at_least(Vec<float> limit, Vec<float> x) { return _mm512_max_ps(limit.v, x.v); }
FUSEDRNN_INLINE Vec<float> sqrt(Vec<float> x) { return _mm512_sqrt_ps(x.v); }
// The last bits of x as an exponent, 0 in the other bits.
FUSEDRNN_INLINE Vec<float> last_bits_as_exponent(Vec<float> x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x.v), 23));
}
// 1 / x to the last bit or the one before; x is no denormal number.
FUSEDRNN_INLINE Vec<float> reciprocal(Vec<float> x) {
  const __m512 y = _mm512_rcp14_ps(x.v);  // one step of Newton's
  return _mm512_fmadd_ps(y, _mm512_fnmadd_ps(x.v, y, _mm512_set1_ps(1.0f)), y);
}
FUSEDRNN_INLINE Vec<float> zero_unless_positive(Vec<float> d, Vec<float> y) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y.v, _mm512_setzero_ps(), _CMP_NLE_UQ), d.v);
}

FUSEDRNN_INLINE Vec<float> absolute(Vec<float> x) { return _mm512_abs_ps(x.v); }
// x >= 0 with the sign of y
FUSEDRNN_INLINE Vec<float> with_sign(Vec<float> x, Vec<float> y) {
  return _mm512_or_ps(x.v, _mm512_and_ps(y.v, _mm512_set1_ps(-0.0f)));
}

// a where x < limit, else b; also where x is NaN.
FUSEDRNN_INLINE Vec<float> where_less(Vec<float> x, Vec<float> limit, Vec<float> a, Vec<float> b) {
  return _mm512_mask_mov_ps(b.v, _mm512_cmp_ps_mask(x.v, limit.v, _CMP_LT_OQ), a.v);
}

// a0 b0 a1 b1 .. of the lower halves, and of the upper ones.
FUSEDRNN_INLINE Vec<float> interleave_low(Vec<float> a, Vec<float> b) {
  const __m512i lanes = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutex2var_ps(a.v, lanes, b.v);
}
FUSEDRNN_INLINE Vec<float> interleave_high(Vec<float> a, Vec<float> b) {
  const __m512i lanes = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
  return _mm512_permutex2var_ps(a.v, lanes, b.v);
}

template <>
struct Vec<double> {
  using Element = double;
  static constexpr int kWidth = 8;
  __m512d v;
  FUSEDRNN_INLINE Vec() = default;
  FUSEDRNN_INLINE Vec(__m512d value) : v(value) {}
  FUSEDRNN_INLINE explicit Vec(double value) : v(_mm512_set1_pd(value)) {}
  FUSEDRNN_INLINE explicit Vec(int value) : v(_mm512_set1_pd(static_cast<double>(value))) {}
  FUSEDRNN_INLINE static __mmask8 mask(int64_t n) { return static_cast<__mmask8>((1u << n) - 1u); }
  FUSEDRNN_INLINE static Vec load(const double* p) { return _mm512_loadu_pd(p); }
  FUSEDRNN_INLINE static Vec load_partial(const double* p, int64_t n) { return _mm512_maskz_loadu_pd(mask(n), p); }
  FUSEDRNN_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  FUSEDRNN_INLINE void store_partial(double* p, int64_t n) const { _mm512_mask_storeu_pd(p, mask(n), v); }
};
FUSEDRNN_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return _mm512_add_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return _mm512_sub_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return _mm512_mul_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return _mm512_div_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
FUSEDRNN_INLINE Vec<double> at_most(Vec<double> limit, Vec<double> x) { return _mm512_min_pd(limit.v, x.v); }
FUSEDRNN_INLINE Vec<double> at_least(Vec<double> limit, Vec<double> x) { return _mm512_max_pd(limit.v, x.v); }
FUSEDRNN_INLINE Vec<double> sqrt(Vec<double> x) { return _mm512_sqrt_pd(x.v); }
// kWidth numbers, widened if they are float.
FUSEDRNN_INLINE Vec<double> load_wide(const double* p) { return Vec<double>::load(p); }
FUSEDRNN_INLINE Vec<double> load_wide(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
FUSEDRNN_INLINE Vec<double> last_bits_as_exponent(Vec<double> x) {
  return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(x.v), 52));
}
FUSEDRNN_INLINE Vec<double> reciprocal(Vec<double> x) { return Vec<double>(1) / x; }
FUSEDRNN_INLINE Vec<double> zero_unless_positive(Vec<double> d, Vec<double> y) {
  return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(y.v, _mm512_setzero_pd(), _CMP_NLE_UQ), d.v);
}
FUSEDRNN_INLINE Vec<double> absolute(Vec<double> x) { return _mm512_abs_pd(x.v); }
FUSEDRNN_INLINE Vec<double> with_sign(Vec<double> x, Vec<double> y) {
  return _mm512_or_pd(x.v, _mm512_and_pd(y.v, _mm512_set1_pd(-0.0)));
}
FUSEDRNN_INLINE Vec<double> where_less(Vec<double> x, Vec<double> limit, Vec<double> a, Vec<double> b) {
  return _mm512_mask_mov_pd(b.v, _mm512_cmp_pd_mask(x.v, limit.v, _CMP_LT_OQ), a.v);
}
FUSEDRNN_INLINE Vec<double> interleave_low(Vec<double> a, Vec<double> b) {
  return _mm512_permutex2var_pd(a.v, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), b.v);
}
FUSEDRNN_INLINE Vec<double> interleave_high(Vec<double> a, Vec<double> b) {
  return _mm512_permutex2var_pd(a.v, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), b.v);
}

// The lower half of a vector, whose upper one is zero: half the work for processors that take 512 bits in two turns.
// For other sets of instructions it is the vector itself.
template <class T>
struct Half;

template <>
struct Half<float> {
  __m256 v;
  FUSEDRNN_INLINE Half() = default;
  FUSEDRNN_INLINE Half(__m256 value) : v(value) {}
  FUSEDRNN_INLINE explicit Half(float value) : v(_mm256_set1_ps(value)) {}
  FUSEDRNN_INLINE static Half load(const float* p) { return _mm256_loadu_ps(p); }
  FUSEDRNN_INLINE void store(float* p) const {
    _mm512_storeu_ps(p, _mm512_maskz_mov_ps(0xff, _mm512_castps256_ps512(v)));
  }
};
FUSEDRNN_INLINE Half<float> operator+(Half<float> a, Half<float> b) { return _mm256_add_ps(a.v, b.v); }
FUSEDRNN_INLINE Half<float> fma(Half<float> a, Half<float> b, Half<float> c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }

template <>
struct Half<double> {
  __m256d v;
  FUSEDRNN_INLINE Half() = default;
  FUSEDRNN_INLINE Half(__m256d value) : v(value) {}
  FUSEDRNN_INLINE explicit Half(double value) : v(_mm256_set1_pd(value)) {}
  FUSEDRNN_INLINE static Half load(const double* p) { return _mm256_loadu_pd(p); }
  FUSEDRNN_INLINE void store(double* p) const {
    _mm512_storeu_pd(p, _mm512_maskz_mov_pd(0xf, _mm512_castpd256_pd512(v)));
  }
};
FUSEDRNN_INLINE Half<double> operator+(Half<double> a, Half<double> b) { return _mm256_add_pd(a.v, b.v); }
FUSEDRNN_INLINE Half<double> fma(Half<double> a, Half<double> b, Half<double> c) {
  return _mm256_fmadd_pd(a.v, b.v, c.v);
}

#elif defined(FUSEDRNN_AVX2)

constexpr int kAccumulators = 12;  // of 16 registers

// Sliding a window over this table gives a mask of n live lanes.
alignas(32) static const int32_t kLanes32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
alignas(32) static const int64_t kLanes64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

template <>
struct Vec<float> {
  using Element = float;
  static constexpr int kWidth = 8;
  __m256 v;
  FUSEDRNN_INLINE Vec() = default;
  FUSEDRNN_INLINE Vec(__m256 value) : v(value) {}
  FUSEDRNN_INLINE explicit Vec(float value) : v(_mm256_set1_ps(value)) {}
  FUSEDRNN_INLINE explicit Vec(int value) : v(_mm256_set1_ps(static_cast<float>(value))) {}
  FUSEDRNN_INLINE static __m256i mask(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLanes32 + kWidth - n));
  }
  FUSEDRNN_INLINE static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  FUSEDRNN_INLINE static Vec load_partial(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }
  FUSEDRNN_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  FUSEDRNN_INLINE void store_partial(float* p, int64_t n) const { _mm256_maskstore_ps(p, mask(n), v); }
};
FUSEDRNN_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return _mm256_add_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return _mm256_sub_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return _mm256_mul_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return _mm256_div_ps(a.v, b.v); }
FUSEDRNN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
// NaN in x passes through both.
FUSEDRNN_INLINE Vec<float> at_most(Vec<float> limit, Vec<float> x) { return _mm256_min_ps(limit.v, x.v); }
FUSEDRNN_INLINE Vec<float> at_least(Vec<float> limit, Vec<float> x) { return _mm256_max_ps(limit.v, x.v); }
FUSEDRNN_INLINE Vec<float> sqrt(Vec<float> x) { return _mm256_sqrt_ps(x.v); }
FUSEDRNN_INLINE Vec<float> last_bits_as_exponent(Vec<float> x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x.v), 23));
}
FUSEDRNN_INLINE Vec<float> reciprocal(Vec<float> x) { return Vec<float>(1) / x; }
FUSEDRNN_INLINE Vec<float> zero_unless_positive(Vec<float> d, Vec<float> y) {
  return _mm256_and_ps(_mm256_cmp_ps(y.v, _mm256_setzero_ps(), _CMP_NLE_UQ), d.v);
}

FUSEDRNN_INLINE Vec<float> absolute(Vec<float> x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v); }
// x >= 0 with the sign of y
FUSEDRNN_INLINE Vec<float> with_sign(Vec<float> x, Vec<float> y) {
  return _mm256_or_ps(x.v, _mm256_and_ps(y.v, _mm256_set1_ps(-0.0f)));
}

// a where x < limit, else b; also where x is NaN.
FUSEDRNN_INLINE Vec<float> where_less(Vec<float> x, Vec<float> limit, Vec<float> a, Vec<float> b) {
  return _mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, limit.v, _CMP_LT_OQ));
}

// a0 b0 a1 b1 .. of the lower halves, and of the upper ones. The unpacking instructions work within halves.
FUSEDRNN_INLINE Vec<float> interleave_low(Vec<float> a, Vec<float> b) {
  return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x20);
}
FUSEDRNN_INLINE Vec<float> interleave_high(Vec<float> a, Vec<float> b) {
  return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x31);
}

template <>
struct Vec<double> {
  using Element = double;
  static constexpr int kWidth = 4;
  __m256d v;
  FUSEDRNN_INLINE Vec() = default;
  FUSEDRNN_INLINE Vec(__m256d value) : v(value) {}
  FUSEDRNN_INLINE explicit Vec(double value) : v(_mm256_set1_pd(value)) {}
  FUSEDRNN_INLINE explicit Vec(int value) : v(_mm256_set1_pd(static_cast<double>(value))) {}
  FUSEDRNN_INLINE static __m256i mask(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLanes64 + kWidth - n));
  }
  FUSEDRNN_INLINE static Vec load(const double* p) { return _mm256_loadu_pd(p); }
  FUSEDRNN_INLINE static Vec load_partial(const double* p, int64_t n) { return _mm256_maskload_pd(p, mask(n)); }
  FUSEDRNN_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  FUSEDRNN_INLINE void store_partial(double* p, int64_t n) const { _mm256_maskstore_pd(p, mask(n), v); }
};
FUSEDRNN_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return _mm256_add_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return _mm256_sub_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return _mm256_mul_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) { return _mm256_div_pd(a.v, b.v); }
FUSEDRNN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
FUSEDRNN_INLINE Vec<double> at_most(Vec<double> limit, Vec<double> x) { return _mm256_min_pd(limit.v, x.v); }
FUSEDRNN_INLINE Vec<double> at_least(Vec<double> limit, Vec<double> x) { return _mm256_max_pd(limit.v, x.v); }
FUSEDRNN_INLINE Vec<double> sqrt(Vec<double> x) { return _mm256_sqrt_pd(x.v); }
// kWidth numbers, widened if they are float.
FUSEDRNN_INLINE Vec<double> load_wide(const double* p) { return Vec<double>::load(p); }
FUSEDRNN_INLINE Vec<double> load_wide(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
FUSEDRNN_INLINE Vec<double> last_bits_as_exponent(Vec<double> x) {
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(x.v), 52));
}
FUSEDRNN_INLINE Vec<double> reciprocal(Vec<double> x) { return Vec<double>(1) / x; }
FUSEDRNN_INLINE Vec<double> zero_unless_positive(Vec<double> d, Vec<double> y) {
  return _mm256_and_pd(_mm256_cmp_pd(y.v, _mm256_setzero_pd(), _CMP_NLE_UQ), d.v);
}
FUSEDRNN_INLINE Vec<double> absolute(Vec<double> x) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), x.v); }
FUSEDRNN_INLINE Vec<double> with_sign(Vec<double> x, Vec<double> y) {
  return _mm256_or_pd(x.v, _mm256_and_pd(y.v, _mm256_set1_pd(-0.0)));
}
FUSEDRNN_INLINE Vec<double> where_less(Vec<double> x, Vec<double> limit, Vec<double> a, Vec<double> b) {
  return _mm256_blendv_pd(b.v, a.v, _mm256_cmp_pd(x.v, limit.v, _CMP_LT_OQ));
}
FUSEDRNN_INLINE Vec<double> interleave_low(Vec<double> a, Vec<double> b) {
  return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a.v, b.v), _mm256_unpackhi_pd(a.v, b.v), 0x20);
}
FUSEDRNN_INLINE Vec<double> interleave_high(Vec<double> a, Vec<double> b) {
  return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a.v, b.v), _mm256_unpackhi_pd(a.v, b.v), 0x31);
}

#else

constexpr int kAccumulators = 12;

template <class T>
struct Vec {
  using Element = T;
  static constexpr int kWidth = 1;
  T v;
  FUSEDRNN_INLINE Vec() = default;
  FUSEDRNN_INLINE explicit Vec(T value) : v(value) {}
  FUSEDRNN_INLINE explicit Vec(int value) : v(static_cast<T>(value)) {}
  FUSEDRNN_INLINE static Vec load(const T* p) { return Vec(*p); }
  FUSEDRNN_INLINE static Vec load_partial(const T* p, int64_t n) { return n > 0 ? Vec(*p) : Vec(0); }
  FUSEDRNN_INLINE void store(T* p) const { *p = v; }
  FUSEDRNN_INLINE void store_partial(T* p, int64_t n) const {
    if (n > 0) *p = v;
  }
};
// clang-format off
template <class T> FUSEDRNN_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) { return Vec<T>(a.v + b.v); }
template <class T> FUSEDRNN_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) { return Vec<T>(a.v - b.v); }
template <class T> FUSEDRNN_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) { return Vec<T>(a.v * b.v); }
template <class T> FUSEDRNN_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) { return Vec<T>(a.v / b.v); }
template <class T> FUSEDRNN_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) { return Vec<T>(a.v * b.v + c.v); }
// NaN in x passes through both.
template <class T> FUSEDRNN_INLINE Vec<T> at_most(Vec<T> limit, Vec<T> x) { return limit.v < x.v ? limit : x; }
template <class T> FUSEDRNN_INLINE Vec<T> at_least(Vec<T> limit, Vec<T> x) { return limit.v > x.v ? limit : x; }
template <class T> FUSEDRNN_INLINE Vec<T> sqrt(Vec<T> x) { return Vec<T>(std::sqrt(x.v)); }
// One number, widened if it is float.
template <class T> FUSEDRNN_INLINE Vec<double> load_wide(const T* p) { return Vec<double>(static_cast<double>(*p)); }
template <class T> FUSEDRNN_INLINE Vec<T> zero_unless_positive(Vec<T> d, Vec<T> y) { return y.v <= T(0) ? Vec<T>(0) : d; }
template <class T> FUSEDRNN_INLINE Vec<T> absolute(Vec<T> x) { return Vec<T>(std::abs(x.v)); }
// x >= 0 with the sign of y
template <class T> FUSEDRNN_INLINE Vec<T> with_sign(Vec<T> x, Vec<T> y) { return Vec<T>(std::copysign(x.v, y.v)); }
template <class T> FUSEDRNN_INLINE Vec<T> reciprocal(Vec<T> x) { return Vec<T>(T(1) / x.v); }
// a where x < limit, else b; also where x is NaN.
template <class T> FUSEDRNN_INLINE Vec<T> where_less(Vec<T> x, Vec<T> limit, Vec<T> a, Vec<T> b) { return x.v < limit.v ? a : b; }
// clang-format on
FUSEDRNN_INLINE Vec<float> last_bits_as_exponent(Vec<float> x) {
  uint32_t bits;
  std::memcpy(&bits, &x.v, sizeof bits);
  bits <<= 23;
  std::memcpy(&x.v, &bits, sizeof bits);
  return x;
}
FUSEDRNN_INLINE Vec<double> last_bits_as_exponent(Vec<double> x) {
  uint64_t bits;
  std::memcpy(&bits, &x.v, sizeof bits);
  bits <<= 52;
  std::memcpy(&x.v, &bits, sizeof bits);
  return x;
}

#endif

#if !defined(FUSEDRNN_AVX512)
template <class T>
using Half = Vec<T>;
#endif

}  // namespace fusedrnn::FUSEDRNN_ISA
