// Stochastic gradient descent with momentum.
//
//   d = g + lambda w
//   v = mu v + d
//   w = w - lr v          with nesterov: w - lr (d + mu v)
//
// Without momentum, w = w - lr d.
#pragma once

#include "optimisers/settings.h"

namespace fusedrnn {

template <class T, class V>
class Sgd {
 public:
  static constexpr int kStates = 1;   // v
  static constexpr int kNumbers = 2;  // mu, nesterov

  FUSEDRNN_INLINE explicit Sgd(const UpdateSettings& s)
      : lr_(static_cast<T>(s.lr)),
        momentum_(static_cast<T>(s.numbers[0])),
        decay_(s.weight_decay),
        keeps_(s.numbers[0] != 0),
        nesterov_(s.numbers[1] != 0) {}

  FUSEDRNN_INLINE void step(V& w, V g, V* state) const {
    V d = decay_(g, w);
    if (keeps_) {
      state[0] = state[0] * momentum_ + d;
      d = nesterov_ ? d + state[0] * momentum_ : state[0];
    }
    w = w - d * lr_;
  }

 private:
  V lr_, momentum_;
  Decay<T, V> decay_;
  bool keeps_, nesterov_;
};

}  // namespace fusedrnn
