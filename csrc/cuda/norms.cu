// Sums of squares of a list of vectors in float64, and clipping by a norm that is on the device.
//
// A vector's sum has up to kSquaresParts parts, a block each. Which thread takes which element, and the order of every
// sum, follow from the size alone.
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

// The blocks of a vector: as many as it keeps busy.
inline int64_t parts_of(int64_t size) {
  return std::min<int64_t>(kSquaresParts, std::max<int64_t>(1, divide_up(size, kPiece)));
}

// parts: of the first vector of the table. Those that a vector does not have become 0.
template <class T>
__global__ void squares_kernel(const Table<Vector<const T>> table, double* parts) {
  const int k = table.entry_of(blockIdx.x);
  const int64_t part = blockIdx.x - table.blocks[k], count = table.blocks[k + 1] - table.blocks[k];
  const Vector<const T>& vector = table.entries[k];
  double sum = 0;
  for (int64_t j = part * kThreads + threadIdx.x; j < vector.size; j += count * kThreads) {
    const auto value = static_cast<double>(vector.data[j]);
    sum += value * value;
  }
  sum = reduce_block<kThreads>(sum, shared_memory<Lanes>().lane, Plus());
  double* const own = parts + static_cast<int64_t>(k) * kSquaresParts;
  if (threadIdx.x == 0) own[part] = sum;
  if (part == 0 && threadIdx.x >= count) own[threadIdx.x] = 0;
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
  for_own_elements(
      table, [&](const ClipEntry<T>& entry, int64_t j) { entry.data[j] = finite ? entry.data[j] * factor : T(0); });
}

}  // namespace

template <class T>
void sums_of_squares(const Vector<const T>* vectors, int64_t count, double* parts, double* sums, cudaStream_t stream) {
  for (int64_t start = 0; start < count; start += kMostEntries) {
    Table<Vector<const T>> table;
    for (int64_t k = start; k < std::min<int64_t>(count, start + kMostEntries); ++k)
      table.add(vectors[k], parts_of(vectors[k].size));
    launch("sums of squares", &squares_kernel<T>, {table.blocks[table.count], kThreads, sizeof(Lanes)}, stream, table,
           parts + start * kSquaresParts);
  }
  launch("sums of squares", &add_parts_kernel, {count, kThreads, sizeof(Lanes)}, stream, parts, sums);
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
