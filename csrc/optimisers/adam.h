// Adam (Kingma and Ba 2015), and with decoupled decay AdamW (Loshchilov and Hutter 2019). At step n:
//
//   g = g + lambda w                          decoupled: w = w - lr lambda w
//   m = m + (1 - beta1) (g - m)
//   v = beta2 v + (1 - beta2) g^2
//   w = w - lr / (1 - beta1^n) m / (sqrt(v) / sqrt(1 - beta2^n) + epsilon)
//
// This form of m loses less than beta1 m + (1 - beta1) g when m is close to g.
#pragma once

#include "optimisers/settings.h"

namespace fusedrnn {

template <class T, class V>
class Adam {
 public:
  static constexpr int kStates = 2;   // m, v
  static constexpr int kNumbers = 7;  // 1 - beta1, beta2, 1 - beta2, 1 - beta1^n, sqrt(1 - beta2^n), epsilon, decoupled

  FUSEDRNN_INLINE explicit Adam(const UpdateSettings& s)
      : share1_(static_cast<T>(s.numbers[0])),
        beta2_(static_cast<T>(s.numbers[1])),
        share2_(static_cast<T>(s.numbers[2])),
        root_(static_cast<T>(s.numbers[4])),
        epsilon_(static_cast<T>(s.numbers[5])),
        rate_(static_cast<T>(s.lr / s.numbers[3])),
        shrink_(static_cast<T>(s.numbers[6] != 0 ? 1 - s.lr * s.weight_decay : 1)),
        decay_(s.numbers[6] != 0 ? 0 : s.weight_decay) {}

  FUSEDRNN_INLINE void step(V& w, V g, V* state) const {
    V &m = state[0], &v = state[1];
    w = w * shrink_;
    g = decay_(g, w);
    m = m + (g - m) * share1_;
    v = v * beta2_ + g * g * share2_;
    w = w - m / (sqrt(v) / root_ + epsilon_) * rate_;
  }

 private:
  V share1_, beta2_, share2_, root_, epsilon_, rate_, shrink_;
  Decay<T, V> decay_;
};

}  // namespace fusedrnn
