// out[i] = sum of the rows whose id is i, in rising order, so that the bits repeat: the gradient of a table.
//
// A block owns one row of the table, a thread some of its columns. order lists the rows by id, and those of id i are
// order[starts[i]] .. order[starts[i + 1] - 1]. Numbers of 16 bits are summed in float.
#include "cuda/backend.h"
#include "cuda/launch.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void sum_by_id_kernel(const SumById<T> p) {
  const int64_t id = blockIdx.x, begin = p.starts[id], end = p.starts[id + 1];
  for (int64_t j = threadIdx.x; j < p.columns; j += kThreads) {
    Wide<T> sum(0);
    for (int64_t r = begin; r < end; ++r) sum += wide(p.x[p.order[r] * p.columns + j]);
    p.out[id * p.columns + j] = narrow<T>(sum);
  }
}

}  // namespace

template <class T>
void sum_by_id(const SumById<T>& problem, cudaStream_t stream) {
  launch("sum by id", &sum_by_id_kernel<T>, {problem.table_rows, kThreads}, stream, problem);
}

template void sum_by_id<float>(const SumById<float>&, cudaStream_t);
template void sum_by_id<double>(const SumById<double>&, cudaStream_t);
template void sum_by_id<__half>(const SumById<__half>&, cudaStream_t);
template void sum_by_id<__nv_bfloat16>(const SumById<__nv_bfloat16>&, cudaStream_t);

}  // namespace fusedrnn::cuda
