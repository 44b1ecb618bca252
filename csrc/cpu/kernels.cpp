// Compiled once for each instruction set, with FUSEDRNN_AVX512, FUSEDRNN_AVX2 or neither defined.
#include "cpu/kernels.h"

#include "cpu/backward.h"
#include "cpu/backward_rows.h"
#include "cpu/backward_units.h"
#include "cpu/dropout.h"
#include "cpu/forward_rows.h"
#include "cpu/forward_units.h"
#include "cpu/matmul.h"
#include "cpu/optimiser_kernels.h"
#include "cpu/pack.h"
#include "cpu/peak.h"
#include "cpu/scatter.h"
#include "cpu/softmax.h"

namespace fusedrnn::FUSEDRNN_ISA {
namespace {

// The pass that fills vectors as the plan says: body(pass).
template <class Cell, class T, class Body>
auto with_pass(const cpu::ForwardTask<T>& task, Body&& body) {
  if constexpr (Vec<T>::kWidth > 1)
    if (task.plan.lanes == cpu::Lanes::kRows) return body(ForwardOfRows<Cell, T>(task));
  return body(ForwardOfUnits<Cell, T>(task));
}

template <class Cell, class T, class Body>
auto with_pass(const cpu::BackwardTask<T>& task, Body&& body) {
  if constexpr (Vec<T>::kWidth > 1)
    if (task.plan.lanes == cpu::Lanes::kRows) return body(BackwardPass<BackwardOfRows, Cell, T>(task));
  return body(BackwardPass<BackwardOfUnits, Cell, T>(task));
}

template <class Cell, class T, class Task>
size_t workspace_of(const Task& task) {
  return with_pass<Cell, T>(task, [](const auto& pass) { return pass.workspace_bytes(); });
}

template <class Cell, class T, class Task>
void run_pass(const Task& task, Team& team, int thread) {
  with_pass<Cell, T>(task, [&](const auto& pass) { pass.run(team, thread); });
}

template <class Cell, class T>
constexpr cpu::CellKernels<T> cell_kernels() {
  return {&workspace_of<Cell, T, cpu::ForwardTask<T>>, &run_pass<Cell, T, cpu::ForwardTask<T>>,
          &workspace_of<Cell, T, cpu::BackwardTask<T>>, &run_pass<Cell, T, cpu::BackwardTask<T>>};
}

template <class T>
void pack_rows_part(const T* w, int64_t gates, int64_t units, int64_t K, T* panels, int part, int parts) {
  pack_rows(w, gates, units, K, panels, part_of(groups_of<T>(units), part, parts));
}

template <class T>
void pack_columns_part(const T* w, int64_t columns, int64_t K, T* panels, int part, int parts) {
  pack_columns(w, columns, K, panels, part_of(groups_of<T>(columns), part, parts));
}

template <class T>
size_t matmul_workspace(const cpu::MatmulTask<T>& task) {
  return Matmul<T>(task).workspace_bytes();
}

template <class T>
void run_matmul(const cpu::MatmulTask<T>& task, Team& team, int thread) {
  Matmul<T>(task).run(team, thread);
}

template <class T>
constexpr cpu::TypeKernels<T> type_kernels() {
#define FUSEDRNN_CELL_KERNELS(name, Cell) cell_kernels<Cell, T>(),
#define FUSEDRNN_UPDATE_KERNEL(name, Rule) &update<Rule, T>,
  return {Vec<T>::kWidth,
          {FUSEDRNN_CELLS(FUSEDRNN_CELL_KERNELS)},
          &pack_rows_part<T>,
          &pack_columns_part<T>,
          &matmul_workspace<T>,
          &run_matmul<T>,
          &drop<T>,
          &exponentials<T>,
          &scale_rows<T>,
          &cross_entropy<T>,
          &scatter_add<T>,
          {FUSEDRNN_OPTIMISERS(FUSEDRNN_UPDATE_KERNEL)},
          &scale<T>,
          &sum_squares<T>,
          &multiply_add<T>};
#undef FUSEDRNN_UPDATE_KERNEL
#undef FUSEDRNN_CELL_KERNELS
}

}  // namespace

#define FUSEDRNN_TEXT_OF(x) #x
#define FUSEDRNN_TEXT(x) FUSEDRNN_TEXT_OF(x)
extern const cpu::Kernels kKernels;
const cpu::Kernels kKernels = {FUSEDRNN_TEXT(FUSEDRNN_ISA), type_kernels<float>(), type_kernels<double>()};

}  // namespace fusedrnn::FUSEDRNN_ISA
