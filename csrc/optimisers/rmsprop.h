// RMSprop (Tieleman and Hinton 2012), perhaps centered (Graves 2013).
//
//   g = g + lambda w
//   v = alpha v + (1 - alpha) g^2
//   m = m + (1 - alpha) (g - m)               centered; else m = 0
//   d = g / (sqrt(v - m^2) + epsilon)         epsilon in the root: g / sqrt(v - m^2 + epsilon)
//   b = mu b + d                              without momentum b = d
//   w = w - lr b
//
// A v - m^2 below zero comes of rounding and counts as zero. This form of m loses less than alpha m + (1 - alpha) g
// when m is close to g.
#pragma once

#include "optimisers/settings.h"

namespace fusedrnn {

template <class T, class V>
class RmsProp {
 public:
  static constexpr int kStates = 3;   // v, m, b
  static constexpr int kNumbers = 6;  // alpha, 1 - alpha, epsilon, mu, centered, epsilon in the root

  FUSEDRNN_INLINE explicit RmsProp(const UpdateSettings& s)
      : lr_(static_cast<T>(s.lr)),
        alpha_(static_cast<T>(s.numbers[0])),
        share_(static_cast<T>(s.numbers[1])),
        epsilon_(static_cast<T>(s.numbers[2])),
        momentum_(static_cast<T>(s.numbers[3])),
        decay_(s.weight_decay),
        keeps_(s.numbers[3] != 0),
        centered_(s.numbers[4] != 0),
        in_root_(s.numbers[5] != 0) {}

  FUSEDRNN_INLINE void step(V& w, V g, V* state) const {
    V &v = state[0], &m = state[1], &b = state[2];
    g = decay_(g, w);
    v = v * alpha_ + g * g * share_;
    V variance = v;
    if (centered_) {
      m = m + (g - m) * share_;
      variance = at_least(V(0), v - m * m);
    }
    V d = g / (in_root_ ? sqrt(variance + epsilon_) : sqrt(variance) + epsilon_);
    if (keeps_) d = b = b * momentum_ + d;
    w = w - d * lr_;
  }

 private:
  V lr_, alpha_, share_, epsilon_, momentum_;
  Decay<T, V> decay_;
  bool keeps_, centered_, in_root_;
};

}  // namespace fusedrnn
