#include "cpu/backend.h"

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
  void start() const { run_stoppable_team(task_.plan.threads, on_team()); }
  void start_beside(const Run& other) const { run_two_teams(task_.plan.threads, on_team(), other.on_team()); }

 private:
  auto on_team() const {
    return [this](Team& team, int thread) { kernel_(task_, team, thread); };
  }

  const RowOrder order_;
  Task task_;
  const Buffer workspace_;
  void (*const kernel_)(const Task&, Team&, int);
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
auto PackedLayer<T>::prepare(const ForwardProblem<T>& problem, int threads) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  RowOrder order = order_rows(problem.sizes, problem.extent);
  const ForwardTask<T> task{
      &problem, weights_, forward_, plan(planned_sizes(problem), false, threads), order.row.data(), order.length.data(),
      nullptr};
  return Run<ForwardTask<T>>(std::move(order), task, k.forward_workspace, k.forward);
}

template <class T>
auto PackedLayer<T>::prepare(const BackwardProblem<T>& problem, int threads) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  RowOrder order = order_rows(problem.sizes, problem.extent);
  const Sizes sizes = planned_sizes(problem);
  const BackwardTask<T> task{&problem,
                             weights_,
                             backward_panels(),
                             forward_,
                             plan(sizes, true, threads),
                             plan(sizes, false, threads).chunk_steps,
                             order.row.data(),
                             order.length.data(),
                             nullptr};
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

template <class T>
template <class Problem>
void PackedLayer<T>::run_with(const Problem& problem, const PackedLayer& other, const Problem& its,
                              bool backward) const {
  if (!plan_of_half(planned_sizes(problem), backward)) {
    prepare(problem, num_threads()).start();
    other.prepare(its, num_threads()).start();
    return;
  }
  const int half = num_threads() / 2;
  const auto run = prepare(problem, half), beside = other.prepare(its, half);
  run.start_beside(beside);
}

template <class T>
void PackedLayer<T>::forward(const ForwardProblem<T>& problem) const {
  prepare(problem, num_threads()).start();
}

template <class T>
void PackedLayer<T>::backward(const BackwardProblem<T>& problem) const {
  prepare(problem, num_threads()).start();
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
void matmul(MatmulTask<T> task) {
  constexpr int64_t kTiny = 1 << 18;  // multiplications; fewer are not worth waking anybody
  const TypeKernels<T>& k = kernels().of<T>();
  task.threads = task.M * task.N * task.K < kTiny ? 1 : num_threads();
  const Buffer workspace(k.matmul_workspace(task));
  task.workspace = workspace.data();
  run_stoppable_team(task.threads, [&](Team& team, int thread) { k.matmul(task, team, thread); });
}

template <class T>
void dropout(const DropoutTask<T>& task) {
  run_stoppable_team(threads_for(task.T_ * task.B * task.C),
                     [&](Team& team, int thread) { kernels().of<T>().dropout(task, team, thread); });
}

template <class T>
void exponentials(const SoftmaxTask<T>& task) {
  run_stoppable_team(threads_for(task.rows * task.columns),
                     [&](Team& team, int thread) { kernels().of<T>().exponentials(task, team, thread); });
}

template <class T>
void scale_rows(const SoftmaxTask<T>& task) {
  run_stoppable_team(threads_for(task.rows * task.columns),
                     [&](Team& team, int thread) { kernels().of<T>().scale_rows(task, team, thread); });
}

template <class T>
void cross_entropy(const SoftmaxTask<T>& task) {
  run_stoppable_team(threads_for(task.rows * task.columns),
                     [&](Team& team, int thread) { kernels().of<T>().cross_entropy(task, team, thread); });
}

template <class T>
void scatter_add(const ScatterTask<T>& task) {
  run_team(threads_for((task.rows + task.table_rows) * task.columns),
           [&](Team& team, int thread) { kernels().of<T>().scatter_add(task, team, thread); });
}

template class PackedLayer<float>;
template class PackedLayer<double>;
template void matmul<float>(MatmulTask<float>);
template void matmul<double>(MatmulTask<double>);
template void dropout<float>(const DropoutTask<float>&);
template void dropout<double>(const DropoutTask<double>&);
template void exponentials<float>(const SoftmaxTask<float>&);
template void exponentials<double>(const SoftmaxTask<double>&);
template void scale_rows<float>(const SoftmaxTask<float>&);
template void scale_rows<double>(const SoftmaxTask<double>&);
template void cross_entropy<float>(const SoftmaxTask<float>&);
template void cross_entropy<double>(const SoftmaxTask<double>&);
template void scatter_add<float>(const ScatterTask<float>&);
template void scatter_add<double>(const ScatterTask<double>&);

}  // namespace fusedrnn::cpu
