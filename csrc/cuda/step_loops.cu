// Tier step: a launch or two for every step.
#include "cuda/backward_step.h"
#include "cuda/forward_step.h"
#include "cuda/loops.h"

namespace fusedrnn::cuda {
namespace {

constexpr int64_t kFewRows = 8;  // up to so many a thread makes one row, else kManyRows
constexpr int kManyRows = 4;

int64_t live_rows(const Rows& rows, const int64_t* first, int64_t s) {
  return first == nullptr ? rows.rows : first[s + 1] - first[s];
}

// Launches the kernel of R rows a thread over all tiles of rows times columns.
template <class T, int G, int R, class Loop>
void launch_step(const char* name, void (*kernel)(Loop, int64_t), int64_t rows, int64_t columns, const Loop& loop,
                 int64_t s, cudaStream_t stream) {
  using Tiles = Tile<T, G, R>;
  const Shape shape{Tiles::blocks(rows, columns), Tiles::kThreads, sizeof(typename Tiles::Shared)};
  launch(name, kernel, shape, stream, loop, s);
}

template <class Cell, class T, int R>
void forward_step(const ForwardLoop<T>& loop, int64_t s, int64_t live, cudaStream_t stream) {
  const Sizes& sizes = loop.sizes;
  launch_step<T, Cell::kGates, R>("forward step", &forward_step_kernel<Cell, T, R>, live, sizes.H, loop, s, stream);
  if (loop.w_hr != nullptr)
    launch_step<T, 1, R>("projection step", &project_step_kernel<T, R>, live, sizes.P, loop, s, stream);
}

template <class Cell, class T, int R>
void backward_step(const BackwardLoop<T>& loop, int64_t s, int64_t live, cudaStream_t stream) {
  const Sizes& sizes = loop.sizes;
  launch_step<T, 1, R>("backward step", &backward_step_kernel<Cell, T, R>, live, sizes.P, loop, s, stream);
  if (loop.w_hr != nullptr && s >= loop.part.begin)
    launch_step<T, 1, R>("backward projection step", &unproject_step_kernel<Cell, T, R>, live, sizes.H, loop, s,
                         stream);
}

template <class Cell, class T>
void forward_all(const ForwardLoop<T>& loop, const Host& host) {
  for (int64_t s = loop.part.begin; s < loop.part.end; ++s) {
    const int64_t live = live_rows(loop.rows, host.first, s);
    if (live <= kFewRows)
      forward_step<Cell, T, 1>(loop, s, live, host.stream);
    else
      forward_step<Cell, T, kManyRows>(loop, s, live, host.stream);
  }
}

template <class Cell, class T>
void backward_all(const BackwardLoop<T>& loop, const Host& host) {
  for (int64_t s = loop.part.end - 1; s >= loop.part.begin - 1; --s) {
    const int64_t live = live_rows(loop.rows, host.first, s < 0 ? 0 : s);
    if (live <= kFewRows)
      backward_step<Cell, T, 1>(loop, s, live, host.stream);
    else
      backward_step<Cell, T, kManyRows>(loop, s, live, host.stream);
  }
}

}  // namespace

template <class T>
void forward_steps(int cell, const ForwardLoop<T>& loop, const Host& host) {
  using Run = void (*)(const ForwardLoop<T>&, const Host&);
#define FUSEDRNN_FUNCTION forward_all
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loop, host);
}

template <class T>
void backward_steps(int cell, const BackwardLoop<T>& loop, const Host& host) {
  using Run = void (*)(const BackwardLoop<T>&, const Host&);
#define FUSEDRNN_FUNCTION backward_all
  constexpr Run kRuns[] = {FUSEDRNN_CELLS(FUSEDRNN_OF_CELL)};
#undef FUSEDRNN_FUNCTION
  kRuns[cell](loop, host);
}

#define FUSEDRNN_INSTANTIATE(T)                                            \
  template void forward_steps<T>(int, const ForwardLoop<T>&, const Host&); \
  template void backward_steps<T>(int, const BackwardLoop<T>&, const Host&);
FUSEDRNN_NUMBERS(FUSEDRNN_INSTANTIATE)
#undef FUSEDRNN_INSTANTIATE

}  // namespace fusedrnn::cuda
