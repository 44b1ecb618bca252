#include "cpu/stepper.h"

#include <algorithm>

#include "contract/checked.h"
#include "cpu/pool.h"

namespace fusedrnn::cpu {

template <class T>
Stepper<T>::Stepper(const std::vector<const PackedLayer<T>*>& layers, int64_t B)
    : cell_(layers.front()->cell()),
      layers_(static_cast<int64_t>(layers.size())),
      sizes_(layers.front()->sizes()),
      forward_(kernels().of<T>().cells[cell_].forward) {
  sizes_.T = 1, sizes_.B = B;
  const int64_t gates = kCells[cell_].gates + 2;
  checked_product({layers_, B, gates, 2 * (sizes_.I + sizes_.H + sizes_.P + 64), static_cast<int64_t>(sizeof(T))});
  order_ = order_rows(sizes_, {});
  const std::vector<Plan> plans = make_plans(layers);
  carve(nullptr);
  memory_ = Buffer(bytes_);
  carve(memory_.data());
  for (int k = 0; k < states(); ++k) std::fill_n(state_[0][k], layers_ * B * state_columns(k), T(0));

  size_t workspace = 0;
  for (int turn = 0; turn < 2; ++turn) {
    problems_[turn].resize(layers.size());
    for (int64_t layer = 0; layer < layers_; ++layer) {
      fill_problem(layer, turn, layers[layer]->sizes().I);
      tasks_[turn].push_back({&problems_[turn][layer], layers[layer]->weights(), layers[layer]->forward_panels(),
                              plans[layer], order_.row.data(), order_.length.data(), nullptr, turn});
      workspace = std::max(workspace, kernels().of<T>().cells[cell_].forward_workspace(tasks_[turn].back()));
    }
  }
  workspace_ = Buffer(workspace);
  for (auto& tasks : tasks_)
    for (ForwardTask<T>& task : tasks) task.workspace = workspace_.data();
}

// The layers differ in I alone. Threads that one of them has use for are woken for it in any case: those with use for
// fewer go along, split as that one is.
template <class T>
std::vector<Plan> Stepper<T>::make_plans(const std::vector<const PackedLayer<T>*>& layers) {
  std::vector<Plan> plans;
  Plan widest;
  for (const PackedLayer<T>* layer : layers) {
    Sizes sizes = sizes_;
    sizes.I = layer->sizes().I;
    plans.push_back(layer->plan(sizes, false));
    if (plans.back().threads > widest.threads) widest = plans.back();
    cycles_ += plans.back().step_cycles;
  }
  for (Plan& plan : plans)
    if (plan.threads < widest.threads) plan = widest;
  threads_ = widest.threads;
  return plans;
}

template <class T>
void Stepper<T>::carve(char* base) {
  Carver carver(base);
  x_ = carver.take<T>(sizes_.B * sizes_.I);
  ids_ = carver.take<int64_t>(sizes_.B);
  between_ = carver.take<T>((layers_ - 1) * sizes_.B * sizes_.P);
  for (auto& state : state_)
    for (int k = 0; k < states(); ++k) state[k] = carver.take<T>(layers_ * sizes_.B * state_columns(k));
  bytes_ = carver.used();
}

template <class T>
void Stepper<T>::fill_problem(int64_t layer, int turn, int64_t inputs) {
  ForwardProblem<T>& p = problems_[turn][layer];
  const int64_t out = sizes_.B * sizes_.P;
  p.sizes = sizes_;
  p.sizes.I = inputs;
  p.x = {layer == 0 ? x_ : between_ + (layer - 1) * out, sizes_.B * inputs, inputs};
  p.y = {layer == layers_ - 1 ? nullptr : between_ + layer * out, out, sizes_.P};
  for (int k = 0; k < states(); ++k) {
    const int64_t at = layer * sizes_.B * state_columns(k);
    p.state_in[k] = state_[turn][k] + at;
    p.state_out[k] = state_[1 - turn][k] + at;
  }
}

template <class T>
void Stepper<T>::step(bool from_ids, T* y) {
  ForwardProblem<T>& first = problems_[turn_].front();
  first.ids = from_ids ? Sequence<const int64_t>{ids_, sizes_.B, 1} : Sequence<const int64_t>{};
  problems_[turn_].back().y.data = y;
  const std::vector<ForwardTask<T>>& tasks = tasks_[turn_];
  run_team(threads_, [&](Team& team, int thread) {
    for (const ForwardTask<T>& task : tasks) {
      forward_(task, team, thread);
      team.barrier();  // the next layer reads this one's output, and works where this one did
    }
  });
  turn_ = 1 - turn_;
}

template class Stepper<float>;
template class Stepper<double>;

}  // namespace fusedrnn::cpu
