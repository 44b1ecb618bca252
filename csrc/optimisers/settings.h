// What a rule is made from, and the weight decay that most rules share.
//
// A rule is the step of an optimiser for one element: a struct templated on the number type T and on the value type V
// that it computes with, T itself or a vector of it. It is made once for each parameter, so that what does not depend
// on the element is computed once, in double, and rounded to T last. Its
//
//   void step(V& w, V g, V* state) const
//
// moves the element w and its states on by the gradient g. A state that the caller does not keep comes as zero and is
// not stored.
#pragma once

#include "contract/inline.h"

namespace fusedrnn {

struct UpdateSettings {
  double lr, weight_decay;  // of the parameter
  const double* numbers;    // of the optimiser; each rule says which
};

// g + lambda w; without lambda w is not looked at.
template <class T, class V>
class Decay {
 public:
  FUSEDRNN_INLINE explicit Decay(double weight_decay)
      : weight_decay_(static_cast<T>(weight_decay)), decays_(weight_decay != 0) {}
  FUSEDRNN_INLINE V operator()(V g, V w) const { return decays_ ? g + w * weight_decay_ : g; }

 private:
  V weight_decay_;
  bool decays_;
};

}  // namespace fusedrnn
