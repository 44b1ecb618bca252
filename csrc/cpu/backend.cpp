#include "cpu/backend.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "contract/checked.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/rows.h"

namespace fusedrnn::cpu {
namespace {

constexpr int64_t kPackInParallel = 1 << 16;  // elements; fewer are packed by the caller alone

template <class T>
int64_t round_up(int64_t columns) {
  const int64_t width = kernels().of<T>().width;
  return (columns + width - 1) / width * width;
}

// Sizes as the plan takes them.
template <class Problem>
Sizes planned_sizes(const Problem& problem) {
  Sizes sizes = problem.sizes;
  if (problem.ids) sizes.I = 0;  // no input product
  return sizes;
}

// One call of a kernel: its task, and what the task points at.
template <class Task>
class Run {
 public:
  // task.row and .length point into `order`.
  Run(RowOrder order, const Task& task, size_t (*workspace)(const Task&), void (*kernel)(const Task&, Team&, int))
      : order_(std::move(order)), task_(task), workspace_(workspace(task)), kernel_(kernel) {
    task_.workspace = workspace_.data();
  }
  int threads() const { return task_.plan.threads; }
  void flow(Progress* own, const Progress* input) { task_.progress = own, task_.input_progress = input; }
  void operator()(Team& team, int thread) const { kernel_(task_, team, thread); }

 private:
  RowOrder order_;
  Task task_;
  Buffer workspace_;
  void (*kernel_)(const Task&, Team&, int);
};

}  // namespace

template <class T>
PackedLayer<T>::PackedLayer(int cell, const Sizes& sizes, const Weights<T>& weights)
    : cell_(cell), sizes_(sizes), weights_(weights), forward_{}, backward_{} {
  const TypeKernels<T>& k = kernels().of<T>();
  const int64_t G = kCells[cell].gates, I = sizes.I, H = sizes.H, P = sizes.P;
  const int64_t hidden = round_up<T>(H), outputs = round_up<T>(P);
  checked_product({G + 2, hidden + outputs, I + H + P + 2, static_cast<int64_t>(sizeof(T))});

  T *ih = nullptr, *hh = nullptr, *b_ih = nullptr, *b_hh = nullptr, *hr = nullptr;
  const auto carve = [&](char* base) {
    Carver carver(base);
    ih = carver.take<T>(hidden * G * I);
    hh = carver.take<T>(hidden * G * P);
    b_ih = carver.take<T>(hidden * G);
    b_hh = carver.take<T>(hidden * G);
    hr = weights.w_hr ? carver.take<T>(outputs * H) : nullptr;
    return carver.used();
  };
  forward_memory_ = Buffer(carve(nullptr));
  carve(forward_memory_.data());

  const int threads = G * H * (I + P) < kPackInParallel ? 1 : num_threads();
  run_team(threads, [&](Team& team, int thread) {
    k.pack_rows(weights.w_ih, G, H, I, ih, thread, team.size());
    k.pack_rows(weights.w_hh, G, H, P, hh, thread, team.size());
    if (weights.w_hr) k.pack_rows(weights.w_hr, 1, P, H, hr, thread, team.size());
  });
  for (int64_t at = 0; at < hidden * G; ++at) b_ih[at] = b_hh[at] = T(0);
  if (weights.b_ih) k.pack_rows(weights.b_ih, G, H, 1, b_ih, 0, 1);
  if (weights.b_hh) k.pack_rows(weights.b_hh, G, H, 1, b_hh, 0, 1);
  forward_ = {ih, hh, b_ih, b_hh, hr};
}

template <class T>
const BackwardPanels<T>& PackedLayer<T>::backward_panels() const {
  std::call_once(backward_packed_, [&] {
    const TypeKernels<T>& k = kernels().of<T>();
    const int64_t gates = kCells[cell_].gates * sizes_.H, I = sizes_.I, H = sizes_.H, P = sizes_.P;
    T *ih = nullptr, *hh = nullptr, *hr = nullptr;
    const auto carve = [&](char* base) {
      Carver carver(base);
      ih = carver.take<T>(round_up<T>(I) * gates);
      hh = carver.take<T>(round_up<T>(P) * gates);
      hr = weights_.w_hr ? carver.take<T>(round_up<T>(H) * P) : nullptr;
      return carver.used();
    };
    backward_memory_ = Buffer(carve(nullptr));
    carve(backward_memory_.data());
    const int threads = gates * (I + P) < kPackInParallel ? 1 : num_threads();
    run_team(threads, [&](Team& team, int thread) {
      k.pack_columns(weights_.w_ih, I, gates, ih, thread, team.size());
      k.pack_columns(weights_.w_hh, P, gates, hh, thread, team.size());
      if (weights_.w_hr) k.pack_columns(weights_.w_hr, H, P, hr, thread, team.size());
    });
    backward_ = {ih, hh, hr};
  });
  return backward_;
}

template <class T>
auto PackedLayer<T>::prepare(const ForwardProblem<T>& problem, const Plan& plan) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  RowOrder order = order_rows(problem.sizes, problem.extent);
  const ForwardTask<T> task{&problem, weights_, forward_, plan, order.row.data(), order.length.data(), nullptr};
  return Run<ForwardTask<T>>(std::move(order), task, k.forward_workspace, k.forward);
}

template <class T>
auto PackedLayer<T>::prepare(const BackwardProblem<T>& problem, const Plan& plan) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  RowOrder order = order_rows(problem.sizes, problem.extent);
  const int64_t forward_chunk = this->plan(planned_sizes(problem), false, plan.threads).chunk_steps;
  const BackwardTask<T> task{&problem,      weights_,         backward_panels(),   forward_, plan,
                             forward_chunk, order.row.data(), order.length.data(), nullptr};
  return Run<BackwardTask<T>>(std::move(order), task, k.backward_workspace, k.backward);
}

template <class T>
Plan PackedLayer<T>::plan(const Sizes& sizes, bool backward, int threads) const {
  const PlanInput input{sizes,
                        kCells[cell_].gates,
                        kCells[cell_].one_gate_gradient,
                        static_cast<int>(sizeof(T)),
                        kernels().of<T>().width,
                        threads};
  return backward ? plan_backward(input) : plan_forward(input);
}

template <class T>
std::optional<Plan> PackedLayer<T>::plan_of_half(const Sizes& sizes, bool backward) const {
  const int threads = num_threads();
  if (threads < 2) return std::nullopt;
  const Plan half = plan(sizes, backward, threads / 2);
  if (!side_by_side(plan(sizes, backward, threads), half)) return std::nullopt;
  return half;
}

template <class T>
int64_t PackedLayer<T>::segment_steps(const Sizes& sizes, int64_t every) const {
  const CellInfo& cell = kCells[cell_];
  if (cell.saved == 0 && cell.states == 1 && weights_.w_hr == nullptr) return 0;
  return cpu::segment_steps(plan(sizes, true), sizes.T, every);
}

// Those of a few layers together; none if they do better one after the other.
template <class T>
std::vector<Plan> PackedLayer<T>::plans_together(const std::vector<const PackedLayer*>& layers,
                                                 const std::vector<Sizes>& sizes, bool backward) {
  if (layers.size() < 2) return {};
  std::vector<Plan> plans;
  double one_after_the_other = 0;
  for (size_t i = 0; i < layers.size(); ++i) one_after_the_other += layers[i]->plan(sizes[i], backward).cycles;
  // As many threads for each layer; one that has no use for them says how many the others get.
  for (int threads = num_threads() / static_cast<int>(layers.size()), most = 0; threads > 0 && threads != most;) {
    plans.clear();
    most = threads;
    for (size_t i = 0; i < layers.size(); ++i) {
      plans.push_back(layers[i]->plan(sizes[i], backward, most));
      threads = std::min(threads, plans.back().threads);
    }
  }
  if (plans.empty()) return plans;
  if (make_wave(plans, sizes.front(), backward) >= one_after_the_other) plans.clear();
  return plans;
}

template <class T>
template <class Problem>
void PackedLayer<T>::run_alone(const Problem& problem, bool backward) const {
  const auto run = prepare(problem, plan(planned_sizes(problem), backward));
  run_stoppable_team(run.threads(), [&](Team& team, int thread) { run(team, thread); });
}

template <class T>
template <class Problem>
void PackedLayer<T>::run_with(const Problem& problem, const PackedLayer& other, const Problem& its,
                              bool backward) const {
  const std::optional<Plan> half = plan_of_half(planned_sizes(problem), backward);
  if (!half) {
    run_alone(problem, backward);
    other.run_alone(its, backward);
    return;
  }
  const decltype(prepare(problem, *half)) runs[] = {prepare(problem, *half), other.prepare(its, *half)};
  run_teams(2, half->threads, [&](int part, Team& team, int thread) { runs[part](team, thread); });
}

// As many layers together as there are threads for.
template <class T>
std::vector<std::optional<Plan>> PackedLayer<T>::plans_of_wave(const std::vector<const PackedLayer*>& layers,
                                                               const std::vector<Sizes>& sizes, bool backward) {
  std::vector<std::optional<Plan>> all(layers.size());
  for (size_t begin = 0, end; begin < layers.size(); begin = end) {
    end = std::min(begin + num_threads(), layers.size());
    const std::vector<Plan> plans = plans_together({layers.begin() + begin, layers.begin() + end},
                                                   {sizes.begin() + begin, sizes.begin() + end}, backward);
    std::copy(plans.begin(), plans.end(), all.begin() + begin);
  }
  return all;
}

template <class T>
template <class Problem>
void PackedLayer<T>::run_wave(const std::vector<const PackedLayer*>& layers, const std::vector<Problem>& problems,
                              bool backward) {
  std::vector<Sizes> sizes;
  for (const Problem& problem : problems) sizes.push_back(planned_sizes(problem));
  const std::vector<std::optional<Plan>> plans = plans_of_wave(layers, sizes, backward);
  for (size_t begin = 0, end; begin < layers.size(); begin = end) {
    end = begin + 1;
    if (!plans[begin]) {
      layers[begin]->run_alone(problems[begin], backward);
      continue;
    }
    const size_t most = std::min(begin + num_threads(), layers.size());
    while (end < most && plans[end] && plans[end]->threads == plans[begin]->threads) ++end;
    std::vector<decltype(layers[0]->prepare(problems[0], *plans[0]))> runs;
    std::deque<Progress> progress;
    for (size_t i = begin; i < end; ++i) {
      const Progress* input = progress.empty() ? nullptr : &progress.back();
      progress.emplace_back(plans[i]->threads);
      runs.push_back(layers[i]->prepare(problems[i], *plans[i]));
      runs.back().flow(&progress.back(), input);
    }
    run_teams(static_cast<int>(runs.size()), plans[begin]->threads,
              [&](int part, Team& team, int thread) { runs[part](team, thread); });
  }
}

template <class T>
void PackedLayer<T>::forward(const ForwardProblem<T>& problem) const {
  run_alone(problem, false);
}

template <class T>
void PackedLayer<T>::backward(const BackwardProblem<T>& problem) const {
  run_alone(problem, true);
}

template <class T>
void PackedLayer<T>::forward_with(const ForwardProblem<T>& problem, const PackedLayer& other,
                                  const ForwardProblem<T>& its) const {
  run_with(problem, other, its, false);
}

template <class T>
void PackedLayer<T>::backward_with(const BackwardProblem<T>& problem, const PackedLayer& other,
                                   const BackwardProblem<T>& its) const {
  run_with(problem, other, its, true);
}

template <class T>
void PackedLayer<T>::forward_wave(const std::vector<const PackedLayer*>& layers,
                                  const std::vector<ForwardProblem<T>>& problems) {
  run_wave(layers, problems, false);
}

template <class T>
void PackedLayer<T>::backward_wave(const std::vector<const PackedLayer*>& layers,
                                   const std::vector<BackwardProblem<T>>& problems) {
  run_wave(layers, problems, true);
}

template class PackedLayer<float>;
template class PackedLayer<double>;

}  // namespace fusedrnn::cpu
