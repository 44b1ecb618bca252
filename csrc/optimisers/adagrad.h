// Adagrad (Duchi, Hazan and Singer 2011).
//
//   g = g + lambda w
//   a = a + g^2
//   w = w - lr g / (sqrt(a) + epsilon)
#pragma once

#include "optimisers/settings.h"

namespace fusedrnn {

template <class T, class V>
class Adagrad {
 public:
  static constexpr int kStates = 1;   // a
  static constexpr int kNumbers = 1;  // epsilon

  FUSEDRNN_INLINE explicit Adagrad(const UpdateSettings& s)
      : lr_(static_cast<T>(s.lr)), epsilon_(static_cast<T>(s.numbers[0])), decay_(s.weight_decay) {}

  FUSEDRNN_INLINE void step(V& w, V g, V* state) const {
    V& a = state[0];
    g = decay_(g, w);
    a = a + g * g;
    w = w - g / (sqrt(a) + epsilon_) * lr_;
  }

 private:
  V lr_, epsilon_;
  Decay<T, V> decay_;
};

}  // namespace fusedrnn
