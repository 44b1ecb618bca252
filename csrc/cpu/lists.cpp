// The functions of backend.h that work on lists of vectors: one entry into the pool for a whole model.
#include <algorithm>
#include <functional>
#include <vector>

#include "cpu/backend.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"
#include "cpu/threads.h"

namespace fusedrnn::cpu {
namespace {

struct Stretch {
  const void *begin, *end;
  bool written;
};

template <class T>
Stretch stretch_of(const T* data, int64_t size, bool written) {
  return {data, data + size, written};
}

// Whether something written shares memory with anything else.
bool overlap(std::vector<Stretch>& stretches) {
  const std::less<const void*> before;
  const auto empty = [](const Stretch& e) { return e.begin == e.end; };
  stretches.erase(std::remove_if(stretches.begin(), stretches.end(), empty), stretches.end());
  std::sort(stretches.begin(), stretches.end(),
            [&](const Stretch& a, const Stretch& b) { return before(a.begin, b.begin); });
  const void *read_to = nullptr, *written_to = nullptr;
  for (const Stretch& e : stretches) {
    if (before(e.begin, written_to) || (e.written && before(e.begin, read_to))) return true;
    const void*& to = e.written ? written_to : read_to;
    to = std::max(to, e.end, before);
  }
  return false;
}

// A thread alone takes vectors in the order of the list, which counts where they share memory.
int team_for(int64_t values, std::vector<Stretch>& stretches) {
  const int threads = threads_for(values);
  return threads == 1 || overlap(stretches) ? 1 : threads;
}

// Where each of `count` vectors begins when they are laid end to end, and where the last one ends.
template <class Size>
std::vector<int64_t> starts_of(int64_t count, Size&& size) {
  std::vector<int64_t> starts(static_cast<size_t>(count) + 1, 0);
  for (int64_t k = 0; k < count; ++k) starts[k + 1] = starts[k] + size(k);
  return starts;
}

}  // namespace

template <class T>
void update(int optimiser, const double* numbers, const UpdateItem<T>* items, const int64_t* sizes, int64_t count) {
  std::vector<Stretch> stretches;
  for (int64_t k = 0; k < count; ++k) {
    stretches.push_back(stretch_of(items[k].parameter, sizes[k], true));
    stretches.push_back(stretch_of(items[k].gradient, sizes[k], false));
    for (const T* state : items[k].state)
      if (state != nullptr) stretches.push_back(stretch_of(state, sizes[k], true));
  }
  const std::vector<int64_t> starts = starts_of(count, [&](int64_t k) { return sizes[k]; });
  const UpdateTask<T> task{count, items, starts.data(), numbers};
  const auto kernel = kernels().of<T>().updates[optimiser];
  run_team(team_for(starts.back(), stretches), [&](Team& team, int thread) { kernel(task, team, thread); });
}

template <class T>
void scale(const Vector<T>* vectors, int64_t count, T factor) {
  std::vector<Stretch> stretches;
  std::vector<T*> data;
  for (int64_t k = 0; k < count; ++k) {
    stretches.push_back(stretch_of(vectors[k].data, vectors[k].size, true));
    data.push_back(vectors[k].data);
  }
  const std::vector<int64_t> starts = starts_of(count, [&](int64_t k) { return vectors[k].size; });
  const ScaleTask<T> task{count, data.data(), starts.data(), factor};
  const auto kernel = kernels().of<T>().scale;
  run_team(team_for(starts.back(), stretches), [&](Team& team, int thread) { kernel(task, team, thread); });
}

template <class T>
void sums_of_squares(const Vector<const T>* vectors, int64_t count, double* sums) {
  std::vector<const T*> data;
  std::vector<int64_t> sizes;
  int64_t total = 0;
  for (int64_t k = 0; k < count; ++k) {
    data.push_back(vectors[k].data);
    sizes.push_back(vectors[k].size);
    total += vectors[k].size;
  }
  const std::vector<int64_t> starts =
      starts_of(count, [&](int64_t k) { return (sizes[k] + kSquaresBlock - 1) / kSquaresBlock; });
  std::vector<double> blocks(static_cast<size_t>(starts.back()));
  const SquaresTask<T> task{count, data.data(), sizes.data(), starts.data(), blocks.data()};
  const auto kernel = kernels().of<T>().sum_squares;
  run_team(threads_for(total), [&](Team& team, int thread) { kernel(task, team, thread); });
  for (int64_t k = 0; k < count; ++k) {
    sums[k] = 0;
    for (int64_t block = starts[k]; block < starts[k + 1]; ++block) sums[k] += blocks[block];
  }
}

template void update<float>(int, const double*, const UpdateItem<float>*, const int64_t*, int64_t);
template void update<double>(int, const double*, const UpdateItem<double>*, const int64_t*, int64_t);
template void scale<float>(const Vector<float>*, int64_t, float);
template void scale<double>(const Vector<double>*, int64_t, double);
template void sums_of_squares<float>(const Vector<const float>*, int64_t, double*);
template void sums_of_squares<double>(const Vector<const double>*, int64_t, double*);

}  // namespace fusedrnn::cpu
