// Tiers solo, cluster and grid: all steps of a call in one launch. A block keeps its part of the recurrent weights,
// that of its units, in shared memory; the blocks of a group, which have rows of their own, meet after every step.
#include <type_traits>

#include "cuda/backward_step.h"
#include "cuda/forward_step.h"
#include "cuda/group.h"
#include "cuda/loops.h"
#include "cuda/resident.h"

namespace fusedrnn::cuda {
namespace {

template <class Cell, class T, class Product>
__global__ void __launch_bounds__(kResidentThreads, 1)
    forward_resident_kernel(const __grid_constant__ Directions<ForwardLoop<T>> loops, const Plan plan,
                            unsigned long long* counters) {
  Group group(plan, loops.of[0].sizes.B, counters);
  const ForwardLoop<T>& p = loops.of[group.direction];
  const Factor<T> w_hh{p.w_hh, 1, p.sizes.P, p.sizes.H * p.sizes.P};
  Resident<T, Product> weights(w_hh, p.sizes.H, p.sizes.P, Cell::kGates, plan, group);
  const Sequence<const T> y{p.y.data, p.y.step_stride, p.y.row_stride};
  weights.begin(p.rows.live(p.part.begin), [&](int64_t m) { return output_before(p, y, p.part.begin, m); });
  if (plan.hands_on()) group.meet();
  for (int64_t s = p.part.begin; s < p.part.end; ++s) {
    const int64_t live = p.rows.live(s);
    if (live <= group.begin) return;  // rows are in order of length: none of the group lives any more
    weights.template multiply<Cell::kGates>(
        live < group.end ? live : group.end, [&](int64_t m) { return output_before(p, y, s, m); },
        [&](int64_t m, int64_t j) { ask_for_unit<Cell>(p, s, m, j); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) {
          const T h = forward_unit<Cell>(p, s, m, j, sums);
          const bool cut = s + 1 < p.rows.length_of(m) && p.rows.cut(s + 1, m);
          weights.hand_on(m, j, cut ? narrow<T>(Wide<T>(0)) : h);
        });
    weights.next_step();
    group.meet();
  }
}

template <class Cell, class T, class Product>
__global__ void __launch_bounds__(kResidentThreads, 1)
    backward_resident_kernel(const __grid_constant__ Directions<BackwardLoop<T>> loops, const Plan plan,
                             unsigned long long* counters) {
  Group group(plan, loops.of[0].sizes.B, counters);
  const BackwardLoop<T>& p = loops.of[group.direction];
  const int64_t gates = Cell::kGates * p.sizes.H;
  Resident<T, Product> weights(w_hh_turned(p, gates), p.sizes.P, gates, 1, plan, group);
  weights.begin(group.begin, [](int64_t) -> const T* { return nullptr; });  // nothing comes from a later step
  if (plan.hands_on()) group.meet();
  for (int64_t s = p.part.end - 1; s >= p.part.begin - 1; --s) {
    const int64_t live = p.rows.live(s < 0 ? 0 : s);
    if (live <= group.begin) continue;
    weights.template multiply<1>(
        live < group.end ? live : group.end, [&](int64_t m) { return gradient_after(p, gates, s, m); },
        [&](int64_t m, int64_t j) { ask_for_output<Cell>(p, s, m, j); },
        [&](int64_t m, int64_t j, const Wide<T>* sums) {
          undo_output<Cell>(p, s, m, j, sums[0],
                            [&](int64_t row, int64_t k, T value) { weights.hand_on(row, k, value); });
        });
    weights.next_step();
    group.meet();
  }
}

// Launches a kernel of these tiers.
template <class T, class Product, class Loop>
void launch_resident(const char* name, void (*kernel)(Directions<Loop>, Plan, unsigned long long*),
                     const Directions<Loop>& loops, const Plan& plan, int64_t depth, int gates, const Host& host) {
  const ResidentRoom<Product> room(depth, plan.units * gates, plan);
  const int64_t groups = plan.groups * loops.count;
  if (plan.tier == Tier::kGrid) {
    const size_t counters = static_cast<size_t>(groups * kCounterPitch) * sizeof(*host.arrived);
    check(cudaMemsetAsync(host.arrived, 0, counters, host.stream), "clearing the counters of a barrier");
  }
  Shape shape{plan.slices * groups, kResidentThreads, static_cast<size_t>(room.bytes())};
  shape.cooperative = plan.tier == Tier::kGrid;
  shape.cluster = plan.tier == Tier::kCluster ? static_cast<unsigned>(plan.slices) : 1;
  launch(name, kernel, shape, host.stream, loops, plan, host.arrived);
}

template <class Cell, class T, class Product>
void forward_launch(const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  launch_resident<T, Product>("forward loop", &forward_resident_kernel<Cell, T, Product>, loops, plan,
                              loops.of[0].sizes.P, Cell::kGates, host);
}

template <class Cell, class T, class Product>
void backward_launch(const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  launch_resident<T, Product>("backward loop", &backward_resident_kernel<Cell, T, Product>, loops, plan,
                              Cell::kGates * loops.of[0].sizes.H, 1, host);
}

// How numbers are multiplied: 16 bits on tensor cores, float there where the plan says so.
template <class T, class Run>
void with_product(const Plan& plan, const Run& run) {
  if constexpr (sizeof(T) == 2) {
    run(std::type_identity<TensorSlices<T>>{});
  } else if constexpr (sizeof(T) == 4) {
    if (plan.tensor)
      run(std::type_identity<TensorSlices<T>>{});
    else
      run(std::type_identity<ScalarSlices<T>>{});
  } else {
    run(std::type_identity<ScalarSlices<T>>{});
  }
}

}  // namespace

template <class T>
void forward_resident(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  with_product<T>(plan, [&](auto type) {
    using Product = typename decltype(type)::type;
    using Run = void (*)(const Directions<ForwardLoop<T>>&, const Plan&, const Host&);
#define FUSEDRNN_LAUNCH(name, Cell) &forward_launch<Cell, T, Product>,
    constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_LAUNCH)};
#undef FUSEDRNN_LAUNCH
    kRuns[cell](loops, plan, host);
  });
}

template <class T>
void backward_resident(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  with_product<T>(plan, [&](auto type) {
    using Product = typename decltype(type)::type;
    using Run = void (*)(const Directions<BackwardLoop<T>>&, const Plan&, const Host&);
#define FUSEDRNN_LAUNCH(name, Cell) &backward_launch<Cell, T, Product>,
    constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_LAUNCH)};
#undef FUSEDRNN_LAUNCH
    kRuns[cell](loops, plan, host);
  });
}

#define FUSEDRNN_INSTANTIATE(T)                                                                        \
  template void forward_resident<T>(int, const Directions<ForwardLoop<T>>&, const Plan&, const Host&); \
  template void backward_resident<T>(int, const Directions<BackwardLoop<T>>&, const Plan&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
