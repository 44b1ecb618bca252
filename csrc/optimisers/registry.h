// Every optimiser that there is, once. The name is the one that Python uses.
//
// The vocabulary of a rule, which each value type V provides: + - * / and V(number), sqrt, and at_least(limit, x): the
// larger one, NaN where x is NaN.
#pragma once

#include "optimisers/adagrad.h"
#include "optimisers/adam.h"
#include "optimisers/rmsprop.h"
#include "optimisers/sgd.h"

#define FUSEDRNN_OPTIMISERS(X) \
  X("sgd", Sgd)                \
  X("adam", Adam)              \
  X("adagrad", Adagrad)        \
  X("rmsprop", RmsProp)

namespace fusedrnn {

struct OptimiserInfo {
  const char* name;
  int states, numbers;
};

#define FUSEDRNN_OPTIMISER_INFO(name, Rule) {name, Rule<float, float>::kStates, Rule<float, float>::kNumbers},
constexpr OptimiserInfo kOptimisers[] = {FUSEDRNN_OPTIMISERS(FUSEDRNN_OPTIMISER_INFO)};
#undef FUSEDRNN_OPTIMISER_INFO

constexpr int kOptimiserCount = sizeof(kOptimisers) / sizeof(kOptimisers[0]);
constexpr int kMostOptimiserStates = 3;

}  // namespace fusedrnn
