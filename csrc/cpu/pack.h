// Weights into panels (cpu/tile.h). Lanes beyond the last column are zero.
#pragma once

#include "cpu/share.h"
#include "cpu/transpose.h"

namespace fusedrnn::FUSEDRNN_ISA {

// panel[g][k][q][lane] = w[(q * units + g * W + lane) * K + k] for w (G * units, K): rows become columns of the
// product.
template <class T>
FUSEDRNN_INLINE void pack_rows(const T* w, int64_t gates, int64_t units, int64_t K, T* panels, Range groups) {
  constexpr int64_t W = Vec<T>::kWidth;
  for (int64_t g = groups.begin; g < groups.end; ++g)
    for (int64_t q = 0; q < gates; ++q)
      transpose(w + (q * units + g * W) * K, K, smaller(W, units - g * W), K, panels + (g * K * gates + q) * W,
                gates * W, W);
}

// panel[g][k][lane] = w[k * columns + g * W + lane] for w (K, columns).
template <class T>
FUSEDRNN_INLINE void pack_columns(const T* w, int64_t columns, int64_t K, T* panels, Range groups) {
  constexpr int64_t W = Vec<T>::kWidth;
  for (int64_t g = groups.begin; g < groups.end; ++g)
    for (int64_t k = 0; k < K; ++k)
      load_columns(w + k * columns + g * W, columns - g * W).store(panels + (g * K + k) * W);
}

}  // namespace fusedrnn::FUSEDRNN_ISA
