// Tier step: a launch or two for every step, in chains.
#include "cuda/backward_step.h"
#include "cuda/chain.h"
#include "cuda/forward_step.h"
#include "cuda/loops.h"
#include "cuda/tensor_tiles.h"

namespace fusedrnn::cuda {
namespace {

constexpr int64_t kFewRows = 8;  // up to so many a thread makes one row, else kManyRows
constexpr int kManyRows = 4;

// Tiles of a product with G sums a unit: number by number, a thread making R rows, or on tensor cores, which the plan
// takes for no projection.
template <class T, int R>
struct Scalar {
  static constexpr bool kProjects = true;
  template <int G>
  using Tiles = Tile<T, G, R>;
};

template <class T>
struct Tensor {
  static constexpr bool kProjects = false;
  template <int G>
  using Tiles = TensorTiles<T, G>;
};

// Whether there are kernels of a projection.
template <class Cell, class Kind>
constexpr bool kProjects = Kind::kProjects && !Cell::kReadsOutput;

int64_t live_rows(const Rows& rows, const int64_t* first, int64_t s) {
  return first == nullptr ? rows.rows : first[s + 1] - first[s];
}

// Adds a kernel over all tiles of rows times columns.
template <class Tiles, class Loop>
void add_step(Chain& chain, const char* name, void (*kernel)(Loop, int64_t), int64_t rows, int64_t columns,
              const Loop& loops, int64_t s) {
  const int64_t blocks = Tiles::blocks(rows, columns) * loops.count;
  chain.add(name, kernel, {blocks, Tiles::kThreads, sizeof(typename Tiles::Shared)}, loops, s);
}

template <class Cell, class T, class Kind>
void forward_step(Chain& chain, const Directions<ForwardLoop<T>>& loops, int64_t s, int64_t live) {
  using Gates = typename Kind::template Tiles<Cell::kGates>;
  const ForwardLoop<T>& loop = loops.of[0];
  add_step<Gates>(chain, "forward step", &forward_step_kernel<Cell, T, Gates>, live, loop.sizes.H, loops, s);
  if constexpr (kProjects<Cell, Kind>) {
    using Outputs = typename Kind::template Tiles<1>;
    if (loop.w_hr != nullptr)
      add_step<Outputs>(chain, "projection step", &project_step_kernel<T, Outputs>, live, loop.sizes.P, loops, s);
  }
}

template <class Cell, class T, class Kind>
void backward_step(Chain& chain, const Directions<BackwardLoop<T>>& loops, int64_t s, int64_t live) {
  using Tiles = typename Kind::template Tiles<1>;
  const BackwardLoop<T>& loop = loops.of[0];
  add_step<Tiles>(chain, "backward step", &backward_step_kernel<Cell, T, Tiles>, live, loop.sizes.P, loops, s);
  if constexpr (kProjects<Cell, Kind>) {
    if (loop.w_hr != nullptr && s >= loop.part.begin)
      add_step<Tiles>(chain, "backward projection step", &unproject_step_kernel<Cell, T, Tiles>, live, loop.sizes.H,
                      loops, s);
  }
}

// run(kind): how a step of so many rows is multiplied.
template <class T, class Run>
void with_kind(const Plan& plan, int64_t live, const Run& run) {
  if constexpr (sizeof(T) <= sizeof(float)) {
    if (plan.tensor) return run(Tensor<T>{});
  }
  if (live <= kFewRows) return run(Scalar<T, 1>{});
  run(Scalar<T, kManyRows>{});
}

template <class Cell, class T>
void forward_all(const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  const ForwardLoop<T>& loop = loops.of[0];
  Chain chain(host.stream, plan.graphs);
  for (int64_t s = loop.part.begin; s < loop.part.end; ++s) {
    const int64_t live = live_rows(loop.rows, host.first, s);
    with_kind<T>(plan, live, [&](auto kind) { forward_step<Cell, T, decltype(kind)>(chain, loops, s, live); });
  }
  chain.finish();
}

template <class Cell, class T>
void backward_all(const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  const BackwardLoop<T>& loop = loops.of[0];
  Chain chain(host.stream, plan.graphs);
  for (int64_t s = loop.part.end - 1; s >= loop.part.begin - 1; --s) {
    const int64_t live = live_rows(loop.rows, host.first, s < 0 ? 0 : s);
    with_kind<T>(plan, live, [&](auto kind) { backward_step<Cell, T, decltype(kind)>(chain, loops, s, live); });
  }
  chain.finish();
}

}  // namespace

template <class T>
void forward_steps(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  using Run = void (*)(const Directions<ForwardLoop<T>>&, const Plan&, const Host&);
#define FUSEDRNN_FUNCTION forward_all
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loops, plan, host);
}

template <class T>
void backward_steps(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  using Run = void (*)(const Directions<BackwardLoop<T>>&, const Plan&, const Host&);
#define FUSEDRNN_FUNCTION backward_all
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loops, plan, host);
}

#define FUSEDRNN_INSTANTIATE(T)                                                                     \
  template void forward_steps<T>(int, const Directions<ForwardLoop<T>>&, const Plan&, const Host&); \
  template void backward_steps<T>(int, const Directions<BackwardLoop<T>>&, const Plan&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
