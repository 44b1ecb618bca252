// out[r] = table[ids[r]], an element a thread. Nobody has looked at the ids, so a bad one is not followed: it gives
// NaN, which reaches the loss.
#include "cuda/take_rows.h"

#include "cuda/launch.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kThreads = 128;

// All bits but the sign: NaN in every format, of 16, 32 and 64 bits.
template <class T>
constexpr T kNan = static_cast<T>(static_cast<T>(~T(0)) >> 1);

template <class T>
__global__ void take_rows_kernel(const TakeRows<T> p) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= p.rows * p.columns) return;
  const int64_t id = p.ids[at / p.columns], j = at % p.columns;
  const bool good = id >= 0 && id < p.table_rows;
  p.out[at] = good ? p.table[id * p.row_stride + j * p.column_stride] : kNan<T>;
}

}  // namespace

template <class T>
void take_rows(const TakeRows<T>& problem, cudaStream_t stream) {
  const int64_t blocks = divide_up(problem.rows * problem.columns, kThreads);
  launch("take rows", &take_rows_kernel<T>, {blocks, kThreads}, stream, problem);
}

template void take_rows<uint16_t>(const TakeRows<uint16_t>&, cudaStream_t);
template void take_rows<uint32_t>(const TakeRows<uint32_t>&, cudaStream_t);
template void take_rows<uint64_t>(const TakeRows<uint64_t>&, cudaStream_t);

}  // namespace fusedrnn::cuda
