// Dropout: out = keep ? x * scale : 0, with the mask of contract/philox.h.
//
// A thread makes four neighbouring columns, which one block of random words decides about.
#include "cuda/backend.h"
#include "cuda/launch.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kThreads = 128, kWords = 4;

template <class T>
__global__ void dropout_kernel(const Dropout<T> p, const int64_t blocks_a_row, const int64_t total) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (block >= total) return;
  const int64_t r = block / blocks_a_row, first = block % blocks_a_row;
  const auto t = static_cast<uint32_t>(r / p.rows);
  const auto row = static_cast<uint32_t>(p.mask.row_offset + static_cast<uint64_t>(r % p.rows));
  uint32_t words[kWords][1];
  mask_words<1>(p.mask, static_cast<uint32_t>(first), t, row, words);
  for (int w = 0; w < kWords && first * kWords + w < p.columns; ++w) {
    const int64_t at = r * p.columns + first * kWords + w;
    const bool keep = words[w][0] >= p.threshold;                        // a threshold of 2^32 keeps none
    p.out[at] = narrow<T>(keep ? wide(p.x[at]) * p.scale : Wide<T>(0));  // a dropped infinity becomes 0, not NaN
  }
}

}  // namespace

template <class T>
void dropout(const Dropout<T>& problem, cudaStream_t stream) {
  const int64_t blocks_a_row = divide_up(problem.columns, kWords);
  const int64_t total = problem.steps * problem.rows * blocks_a_row;
  launch("dropout", &dropout_kernel<T>, {divide_up(total, kThreads), kThreads}, stream, problem, blocks_a_row, total);
}

template void dropout<float>(const Dropout<float>&, cudaStream_t);
template void dropout<double>(const Dropout<double>&, cudaStream_t);
template void dropout<__half>(const Dropout<__half>&, cudaStream_t);
template void dropout<__nv_bfloat16>(const Dropout<__nv_bfloat16>&, cudaStream_t);

}  // namespace fusedrnn::cuda
