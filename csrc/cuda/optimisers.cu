// A step of an optimiser for a list of parameters. Each element is read once, moved on by the rule of csrc/optimisers
// and written once. Compiled without contraction, so that every operation is rounded by itself, as on the CPU.
#include <vector>

#include "cuda/lists.h"
#include "cuda/table.h"
#include "cuda/value.h"

namespace fusedrnn::cuda {
namespace {

constexpr int kMostNumbers = 8;

struct Numbers {
  double number[kMostNumbers];
};

template <class T>
struct UpdateEntry : UpdateItem<T> {
  const T* begin() const { return this->parameter; }
};

template <template <class, class> class Rule, class T>
__global__ void update_kernel(const Table<UpdateEntry<T>> table, const Numbers numbers) {
  using V = Value<T>;
  using R = Rule<T, V>;
  for_own_elements(table, [&](const UpdateEntry<T>& entry, int64_t j) {
    const R rule({entry.lr, entry.weight_decay, numbers.number});
    V w(entry.parameter[j]), state[R::kStates];
    for (int k = 0; k < R::kStates; ++k) state[k] = V(entry.state[k] ? entry.state[k][j] : T(0));
    rule.step(w, V(entry.gradient[j]), state);
    entry.parameter[j] = w.number;
    for (int k = 0; k < R::kStates; ++k)
      if (entry.state[k]) entry.state[k][j] = state[k].number;
  });
}

template <template <class, class> class Rule, class T>
void update_by(const double* numbers, const UpdateEntry<T>* entries, int64_t count, cudaStream_t stream) {
  constexpr int kNumbers = Rule<T, Value<T>>::kNumbers;
  static_assert(kNumbers <= kMostNumbers);
  Numbers passed{};
  std::copy(numbers, numbers + kNumbers, passed.number);
  launch_tables("update", &update_kernel<Rule, T>, entries, count, stream, passed);
}

}  // namespace

template <class T>
void update(int optimiser, const double* numbers, const UpdateItem<T>* items, int64_t count, cudaStream_t stream) {
  using Update = void (*)(const double*, const UpdateEntry<T>*, int64_t, cudaStream_t);
#define FUSEDRNN_UPDATE(name, Rule) &update_by<Rule, T>,
  constexpr Update kUpdates[] = {FUSEDRNN_OPTIMISERS(FUSEDRNN_UPDATE)};
#undef FUSEDRNN_UPDATE
  std::vector<UpdateEntry<T>> entries;
  for (int64_t k = 0; k < count; ++k) entries.push_back({items[k]});
  kUpdates[optimiser](numbers, entries.data(), count, stream);
}

template void update<float>(int, const double*, const UpdateItem<float>*, int64_t, cudaStream_t);
template void update<double>(int, const double*, const UpdateItem<double>*, int64_t, cudaStream_t);

}  // namespace fusedrnn::cuda
