// Sums of squares of a list of vectors in float64, and clipping by a norm that is on the device.
//
// A vector's sum has kSquaresParts parts, a block each. Which thread takes which element, and the order of every sum,
// follow from the size alone.
#include <algorithm>
#include <vector>

#include "cuda/lists.h"
#include "cuda/reduce.h"
#include "cuda/table.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kThreads = 128;
static_assert(kSquaresParts == kThreads);

struct Lanes {
  double lane[kThreads];
};

template <class T>
struct Vectors {
  Vector<const T> vector[kMostEntries];
};

template <class T>
__global__ void squares_kernel(const Vectors<T> vectors, double* parts) {
  const Vector<const T> vector = vectors.vector[blockIdx.x / kSquaresParts];
  const int64_t part = blockIdx.x % kSquaresParts, stride = static_cast<int64_t>(kSquaresParts) * kThreads;
  double sum = 0;
  for (int64_t j = part * kThreads + threadIdx.x; j < vector.size; j += stride) {
    const auto value = static_cast<double>(vector.data[j]);
    sum += value * value;
  }
  sum = reduce_block<kThreads>(sum, shared_memory<Lanes>().lane, Plus());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void add_parts_kernel(const double* parts, double* sums) {
  const int64_t k = blockIdx.x;
  const double sum = reduce_block<kThreads>(parts[k * kThreads + threadIdx.x], shared_memory<Lanes>().lane, Plus());
  if (threadIdx.x == 0) sums[k] = sum;
}

template <class T>
struct ClipEntry : Vector<T> {
  const T* begin() const { return this->data; }
};

template <class T>
__global__ void clip_kernel(const Table<ClipEntry<T>> table, const double* norm, const double most) {
  const double length = *norm;
  const bool finite = length - length == 0;
  if (finite && length <= most) return;
  const T factor = static_cast<T>(most / length);
  for_own_elements(table, [&](const ClipEntry<T>& entry, int64_t j) {
    entry.data[j] = finite ? entry.data[j] * factor : T(0);
  });
}

}  // namespace

template <class T>
void sums_of_squares(const Vector<const T>* vectors, int64_t count, double* parts, double* sums, cudaStream_t stream) {
  for (int64_t k = 0; k < count; k += kMostEntries) {
    const int64_t here = std::min<int64_t>(count - k, kMostEntries);
    Vectors<T> some{};
    std::copy(vectors + k, vectors + k + here, some.vector);
    launch("sums of squares", &squares_kernel<T>, here * kSquaresParts, kThreads, sizeof(Lanes), stream, some,
           parts + k * kSquaresParts);
  }
  launch("sums of squares", &add_parts_kernel, count, kThreads, sizeof(Lanes), stream, parts, sums);
}

template <class T>
void clip(const Vector<T>* vectors, int64_t count, const double* norm, double most, cudaStream_t stream) {
  std::vector<ClipEntry<T>> entries;
  for (int64_t k = 0; k < count; ++k) entries.push_back({vectors[k]});
  launch_tables("clip", &clip_kernel<T>, entries.data(), count, stream, norm, most);
}

template void sums_of_squares<float>(const Vector<const float>*, int64_t, double*, double*, cudaStream_t);
template void sums_of_squares<double>(const Vector<const double>*, int64_t, double*, double*, cudaStream_t);
template void clip<float>(const Vector<float>*, int64_t, const double*, double, cudaStream_t);
template void clip<double>(const Vector<double>*, int64_t, const double*, double, cudaStream_t);

}  // namespace fusedrnn::cuda
