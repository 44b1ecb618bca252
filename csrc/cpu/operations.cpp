// What layers need beside the recurrence, on as many threads as it is worth: cpu/backend.h says what each does.
#include "cpu/backend.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/threads.h"

namespace fusedrnn::cpu {

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
