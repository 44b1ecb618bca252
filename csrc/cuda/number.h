// Numbers as they are stored and as they are computed with: half and bfloat16 are widened to float, float and double
// are themselves.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "contract/inline.h"

namespace fusedrnn::cuda {

template <class T>
struct WideOf {
  using Type = T;
};
template <>
struct WideOf<__half> {
  using Type = float;
};
template <>
struct WideOf<__nv_bfloat16> {
  using Type = float;
};

template <class T>
using Wide = typename WideOf<T>::Type;

FUSEDRNN_INLINE float wide(float x) { return x; }
FUSEDRNN_INLINE double wide(double x) { return x; }
FUSEDRNN_INLINE float wide(__half x) { return __half2float(x); }
FUSEDRNN_INLINE float wide(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
FUSEDRNN_INLINE T narrow(Wide<T> x) {
  return x;
}
template <>
FUSEDRNN_INLINE __half narrow<__half>(float x) {
  return __float2half_rn(x);
}
template <>
FUSEDRNN_INLINE __nv_bfloat16 narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

}  // namespace fusedrnn::cuda
