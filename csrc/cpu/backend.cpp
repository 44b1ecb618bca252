#include "cpu/backend.h"

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
Plan PackedLayer<T>::plan(const Sizes& sizes, bool backward) const {
  const PlanInput input{sizes,
                        kCells[cell_].gates,
                        kCells[cell_].one_gate_gradient,
                        static_cast<int>(sizeof(T)),
                        kernels().of<T>().width,
                        num_threads()};
  return backward ? plan_backward(input) : plan_forward(input);
}

template <class T>
template <class Problem>
Plan PackedLayer<T>::plan_of(const Problem& problem, bool backward) const {
  Sizes sizes = problem.sizes;
  if (problem.ids) sizes.I = 0;  // no input product
  return plan(sizes, backward);
}

template <class T>
int64_t PackedLayer<T>::segment_steps(const Sizes& sizes, int64_t every) const {
  const CellInfo& cell = kCells[cell_];
  if (cell.saved == 0 && cell.states == 1 && weights_.w_hr == nullptr) return 0;
  return cpu::segment_steps(plan(sizes, true), sizes.T, every);
}

template <class T>
void PackedLayer<T>::forward(const ForwardProblem<T>& problem) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  const RowOrder order = order_rows(problem.sizes, problem.extent);
  ForwardTask<T> task{&problem, weights_, forward_, plan_of(problem, false), order.row.data(), order.length.data(),
                      nullptr};
  const Buffer workspace(k.forward_workspace(task));
  task.workspace = workspace.data();
  run_stoppable_team(task.plan.threads, [&](Team& team, int thread) { k.forward(task, team, thread); });
}

template <class T>
void PackedLayer<T>::backward(const BackwardProblem<T>& problem) const {
  const CellKernels<T>& k = kernels().of<T>().cells[cell_];
  const RowOrder order = order_rows(problem.sizes, problem.extent);
  BackwardTask<T> task{&problem,
                       weights_,
                       backward_panels(),
                       forward_,
                       plan_of(problem, true),
                       plan_of(problem, false).chunk_steps,
                       order.row.data(),
                       order.length.data(),
                       nullptr};
  const Buffer workspace(k.backward_workspace(task));
  task.workspace = workspace.data();
  run_stoppable_team(task.plan.threads, [&](Team& team, int thread) { k.backward(task, team, thread); });
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
