// The softmax in the loss: a block owns a row, a thread every kThreads-th column of it.
#include "cuda/softmax.h"

#include <cmath>

#include "cuda/launch.h"
#include "cuda/reduce.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kThreads = 128;

template <class T>
struct Lanes {
  T lane[kThreads];
};

__device__ float exponential(float x) { return expf(x); }
__device__ double exponential(double x) { return ::exp(x); }

// x of the target, to be read before anything is written in place of x.
template <class T>
__device__ T target_of(const Softmax<T>& p, const T* x, int64_t target) {
  return target >= 0 && target < p.columns ? x[target] : static_cast<T>(NAN);
}

// Writes the exponentials and returns their sum.
template <class T>
__device__ T row_exponentials(const Softmax<T>& p, int64_t r, const T* x, T* out) {
  auto& lanes = shared_memory<Lanes<T>>().lane;
  if (threadIdx.x == 0) p.chosen[r] = target_of(p, x, p.targets[r]);
  T most = x[0];
  for (int64_t j = threadIdx.x; j < p.columns; j += kThreads) most = Larger()(x[j], most);
  most = reduce_block<kThreads>(most, lanes, Larger());
  T sum(0);
  for (int64_t j = threadIdx.x; j < p.columns; j += kThreads) sum += out[j] = exponential(x[j] - most);
  sum = reduce_block<kThreads>(sum, lanes, Plus());
  if (threadIdx.x == 0) p.maxima[r] = most, p.sums[r] = sum;
  return sum;
}

// out = x * factor, less the shift in the column of the target.
template <class T>
__device__ void row_gradient(const Softmax<T>& p, int64_t target, const T* x, T factor, T shift, T* out) {
  const bool bad = target < 0 || target >= p.columns;
  for (int64_t j = threadIdx.x; j < p.columns; j += kThreads) {
    const T value = bad ? static_cast<T>(NAN) : x[j] * factor - (j == target ? shift : T(0));
    out[j] = shift == T(0) ? T(0) : value;  // such a row is ignored, whatever it holds
  }
}

template <class T>
__global__ void exponentials_kernel(const Softmax<T> p) {
  const int64_t r = blockIdx.x;
  row_exponentials(p, r, p.x + r * p.columns, p.out + r * p.columns);
}

template <class T>
__global__ void softmax_gradient_kernel(const Softmax<T> p) {
  const int64_t r = blockIdx.x;
  row_gradient(p, p.targets[r], p.x + r * p.columns, p.factors[r], p.shifts[r], p.out + r * p.columns);
}

template <class T>
__global__ void cross_entropy_kernel(const Softmax<T> p) {
  const int64_t r = blockIdx.x;
  T* const out = p.out + r * p.columns;
  const T sum = row_exponentials(p, r, p.x + r * p.columns, out);
  if (p.factors == nullptr) return;
  const T factor = p.factors[r];
  row_gradient(p, p.targets[r], out, factor / sum, factor, out);  // a thread reads again what it wrote itself
}

}  // namespace

template <class T>
void exponentials(const Softmax<T>& problem, cudaStream_t stream) {
  launch("exponentials", &exponentials_kernel<T>, {problem.rows, kThreads, sizeof(Lanes<T>)}, stream, problem);
}

template <class T>
void softmax_gradient(const Softmax<T>& problem, cudaStream_t stream) {
  launch("softmax gradient", &softmax_gradient_kernel<T>, {problem.rows, kThreads}, stream, problem);
}

template <class T>
void cross_entropy(const Softmax<T>& problem, cudaStream_t stream) {
  launch("cross entropy", &cross_entropy_kernel<T>, {problem.rows, kThreads, sizeof(Lanes<T>)}, stream, problem);
}

template void exponentials<float>(const Softmax<float>&, cudaStream_t);
template void exponentials<double>(const Softmax<double>&, cudaStream_t);
template void softmax_gradient<float>(const Softmax<float>&, cudaStream_t);
template void softmax_gradient<double>(const Softmax<double>&, cudaStream_t);
template void cross_entropy<float>(const Softmax<float>&, cudaStream_t);
template void cross_entropy<double>(const Softmax<double>&, cudaStream_t);

}  // namespace fusedrnn::cuda
