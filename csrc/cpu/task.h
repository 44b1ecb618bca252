// What a kernel is given: the problem, the packed weights, the plan, the order of rows and a workspace. Plain data, so
// that it crosses from the common code into the code of one instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "contract/inline.h"
#include "contract/philox.h"
#include "contract/problem.h"
#include "cpu/plan.h"
#include "cpu/progress.h"
#include "optimisers/registry.h"

namespace fusedrnn::cpu {

// Panels as cpu/tile.h describes them; groups are groups of W columns of the product.
template <class T>
struct ForwardPanels {
  const T* ih;    // gates G, contraction I, groups of units
  const T* hh;    // gates G, contraction P, groups of units
  const T* b_ih;  // [group][gate][lane], zeros without bias
  const T* b_hh;  // likewise
  const T* hr;    // gates 1, contraction H, groups of outputs; nullptr without a projection
};

template <class T>
struct BackwardPanels {
  const T* ih;  // gates 1, contraction G*H, groups of inputs
  const T* hh;  // gates 1, contraction G*H, groups of outputs
  const T* hr;  // gates 1, contraction P, groups of units; nullptr without a projection
};

template <class T>
struct ForwardTask {
  const ForwardProblem<T>* problem;
  Weights<T> weights;
  ForwardPanels<T> panels;
  Plan plan;
  const int64_t* row;     // (B) see cpu/rows.h
  const int64_t* length;  // (B)
  char* workspace;        // aligned to 64 bytes
  int64_t turn = 0;       // steps that came before, for the order of panels: odd or even, see by_turns
  // Of layers as a wavefront: how far this pass has come, and the one that makes its x. nullptr: nobody waits.
  Progress* progress = nullptr;
  const Progress* input_progress = nullptr;
};

template <class T>
struct BackwardTask {
  const BackwardProblem<T>* problem;
  Weights<T> weights;
  BackwardPanels<T> panels;
  ForwardPanels<T> forward_panels;  // to make again what forward did not keep
  Plan plan;
  int64_t forward_chunk_steps;  // of the forward pass: steps whose products are made together
  const int64_t* row;
  const int64_t* length;
  char* workspace;
  Progress* progress = nullptr;              // as in forward
  const Progress* input_progress = nullptr;  // of the pass that makes dy
};

// A matrix product, see cpu/matmul.h.
template <class T>
struct MatmulTask {
  int64_t M, N, K;
  const T* a;
  int64_t a_row, a_column;
  const T* b;
  int64_t b_row, b_column;  // one of them is 1
  const T* bias;            // (N), nullptr: none
  T* c;                     // (M, N), contiguous
  bool add;                 // to what c and row_sums hold already
  T* row_sums;              // (M) sums over k of a, nullptr: none
  int threads;
  char* workspace;
};

// A dropout, see cpu/dropout.h.
template <class T>
struct DropoutTask {
  int64_t T_, B, C;
  const T* x;          // (T, B, C)
  T* out;              // (T, B, C)
  uint64_t threshold;  // words from here on are kept
  T scale;             // 1 / (1 - p)
  MaskCoordinates mask;
};

// The rows of a softmax, see cpu/softmax.h; each function uses its part.
template <class T>
struct SoftmaxTask {
  int64_t rows, columns;
  const T* x;              // (rows, columns)
  T* out;                  // (rows, columns), may be x
  T* maxima;               // (rows)
  T* sums;                 // (rows)
  const T* factors;        // (rows)
  const int64_t* targets;  // (rows), columns
  T* chosen;               // (rows), x of the target
};

// A sum of rows by id, see cpu/scatter.h.
template <class T>
struct ScatterTask {
  int64_t rows, columns, table_rows;
  const int64_t* ids;  // (rows), each in [0, table_rows)
  const T* x;          // (rows, columns)
  T* out;              // (table_rows, columns)
};

// Multiply-adds for their own sake, see cpu/peak.h.
template <class T>
struct PeakTask {
  int64_t rounds;  // of one multiply-add a chain: chain * factor + term
  T factor, term;
  T* result;  // one number, so that the compiler may leave nothing out
};

// The tasks below are for lists of vectors. starts (count + 1) says where each begins if they are laid end to end.

// One parameter of a step of an optimiser, see cpu/update.h.
template <class T>
struct UpdateItem {
  T* parameter;
  const T* gradient;
  T* state[kMostOptimiserStates];  // nullptr: not kept
  double lr, weight_decay;
};

template <class T>
struct UpdateTask {
  int64_t count;
  const UpdateItem<T>* items;
  const int64_t* starts;
  const double* numbers;  // of the optimiser
};

// Vectors times a factor, see cpu/scale.h.
template <class T>
struct ScaleTask {
  int64_t count;
  T* const* vectors;
  const int64_t* starts;
  T factor;
};

// Sums of squares, see cpu/squares.h.
constexpr int64_t kSquaresBlock = 1 << 14;

template <class T>
struct SquaresTask {
  int64_t count;
  const T* const* vectors;
  const int64_t* sizes;   // (count), in elements
  const int64_t* starts;  // in blocks
  double* sums;           // one for each block
};

// Cuts a workspace into arrays; with a null base it only counts.
class Carver {
 public:
  FUSEDRNN_INLINE explicit Carver(char* base) : base_(base) {}
  template <class E>
  FUSEDRNN_INLINE E* take(int64_t count) {
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (static_cast<size_t>(count) * sizeof(E) + 63) / 64 * 64;
    return reinterpret_cast<E*>(at);
  }
  FUSEDRNN_INLINE size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace fusedrnn::cpu
