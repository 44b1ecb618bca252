// Tier step: a launch or two for every step, in chains.
#include "cuda/backward_step.h"
#include "cuda/chain.h"
#include "cuda/forward_step.h"
#include "cuda/loops.h"

namespace fusedrnn::cuda {
namespace {

constexpr int64_t kFewRows = 8;  // up to so many a thread makes one row, else kManyRows
constexpr int kManyRows = 4;

int64_t live_rows(const Rows& rows, const int64_t* first, int64_t s) {
  return first == nullptr ? rows.rows : first[s + 1] - first[s];
}

// Adds the kernel of R rows a thread over all tiles of rows times columns.
template <class T, int G, int R, class Loop>
void add_step(Chain& chain, const char* name, void (*kernel)(Loop, int64_t), int64_t rows, int64_t columns,
              const Loop& loops, int64_t s) {
  using Tiles = Tile<T, G, R>;
  const int64_t blocks = Tiles::blocks(rows, columns) * loops.count;
  chain.add(name, kernel, {blocks, Tiles::kThreads, sizeof(typename Tiles::Shared)}, loops, s);
}

template <class Cell, class T, int R>
void forward_step(Chain& chain, const Directions<ForwardLoop<T>>& loops, int64_t s, int64_t live) {
  const ForwardLoop<T>& loop = loops.of[0];
  const Sizes& sizes = loop.sizes;
  add_step<T, Cell::kGates, R>(chain, "forward step", &forward_step_kernel<Cell, T, R>, live, sizes.H, loops, s);
  if (loop.w_hr != nullptr)
    add_step<T, 1, R>(chain, "projection step", &project_step_kernel<T, R>, live, sizes.P, loops, s);
}

template <class Cell, class T, int R>
void backward_step(Chain& chain, const Directions<BackwardLoop<T>>& loops, int64_t s, int64_t live) {
  const BackwardLoop<T>& loop = loops.of[0];
  const Sizes& sizes = loop.sizes;
  add_step<T, 1, R>(chain, "backward step", &backward_step_kernel<Cell, T, R>, live, sizes.P, loops, s);
  if (loop.w_hr != nullptr && s >= loop.part.begin)
    add_step<T, 1, R>(chain, "backward projection step", &unproject_step_kernel<Cell, T, R>, live, sizes.H, loops, s);
}

template <class Cell, class T>
void forward_all(const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  const ForwardLoop<T>& loop = loops.of[0];
  Chain chain(host.stream, plan.graphs);
  for (int64_t s = loop.part.begin; s < loop.part.end; ++s) {
    const int64_t live = live_rows(loop.rows, host.first, s);
    if (live <= kFewRows)
      forward_step<Cell, T, 1>(chain, loops, s, live);
    else
      forward_step<Cell, T, kManyRows>(chain, loops, s, live);
  }
  chain.finish();
}

template <class Cell, class T>
void backward_all(const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host) {
  const BackwardLoop<T>& loop = loops.of[0];
  Chain chain(host.stream, plan.graphs);
  for (int64_t s = loop.part.end - 1; s >= loop.part.begin - 1; --s) {
    const int64_t live = live_rows(loop.rows, host.first, s < 0 ? 0 : s);
    if (live <= kFewRows)
      backward_step<Cell, T, 1>(chain, loops, s, live);
    else
      backward_step<Cell, T, kManyRows>(chain, loops, s, live);
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
