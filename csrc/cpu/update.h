// A step of an optimiser for a list of parameters. Each element is read once, moved on by the rule and written once, so
// nothing depends on who does which.
#pragma once

#include "cpu/pieces.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <template <class, class> class Rule, class T>
FUSEDRNN_INLINE void update_piece(const cpu::UpdateItem<T> item, const double* numbers, Range part) {
  using V = Vec<T>;
  using R = Rule<T, V>;
  const R rule({item.lr, item.weight_decay, numbers});
  for (int64_t j = part.begin; j < part.end; j += V::kWidth) {
    const int64_t live = part.end - j;
    prefetch(item.parameter + j);
    prefetch(item.gradient + j);
    V w = load_columns(item.parameter + j, live), state[R::kStates];
    for (int k = 0; k < R::kStates; ++k) {
      state[k] = item.state[k] ? load_columns(item.state[k] + j, live) : V(0);
      if (item.state[k]) prefetch(item.state[k] + j);
    }
    rule.step(w, load_columns(item.gradient + j, live), state);
    store_columns(item.parameter + j, live, w);
    for (int k = 0; k < R::kStates; ++k)
      if (item.state[k]) store_columns(item.state[k] + j, live, state[k]);
  }
}

template <template <class, class> class Rule, class T>
void update(const cpu::UpdateTask<T>& task, Team& team, int thread) {
  for_each_piece(task.starts, task.count, elements_of(task.starts[task.count], team, thread),
                 [&](int64_t k, Range part) { update_piece<Rule>(task.items[k], task.numbers, part); });
}

}  // namespace fusedrnn::FUSEDRNN_ISA
