// The CPU backend: what the bindings call.
//
// PackedLayer holds the weights of one layer and direction in the order in which the kernels read them. It keeps
// pointers to the caller's weights, which must outlive it and must not change. Its const functions may run on many
// threads at once.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cells/registry.h"
#include "contract/problem.h"
#include "cpu/buffer.h"
#include "cpu/plan.h"
#include "cpu/pool.h"
#include "cpu/task.h"
#include "cpu/threads.h"

namespace fusedrnn::cpu {

template <class T>
class PackedLayer {
 public:
  // sizes.T and sizes.B are not used. `cell` indexes kCells.
  PackedLayer(int cell, const Sizes& sizes, const Weights<T>& weights);

  int cell() const { return cell_; }
  const Sizes& sizes() const { return sizes_; }
  const Weights<T>& weights() const { return weights_; }
  const ForwardPanels<T>& forward_panels() const { return forward_; }

  void forward(const ForwardProblem<T>& problem) const;
  void backward(const BackwardProblem<T>& problem) const;

  // With another layer and a problem of the same T, B, H and P, both directions of a layer: side by side where that is
  // expected to take less time than one after the other.
  void forward_with(const ForwardProblem<T>& problem, const PackedLayer& other, const ForwardProblem<T>& its) const;
  void backward_with(const BackwardProblem<T>& problem, const PackedLayer& other, const BackwardProblem<T>& its) const;

  // Layers of which each is the input of the next one: x of a problem is y of the one before it, backward dy is dx. As
  // a wavefront where that is expected to take less time than one after the other.
  static void forward_wave(const std::vector<const PackedLayer*>& layers,
                           const std::vector<ForwardProblem<T>>& problems);
  static void backward_wave(const std::vector<const PackedLayer*>& layers,
                            const std::vector<BackwardProblem<T>>& problems);

  Plan plan(const Sizes& sizes, bool backward) const { return plan(sizes, backward, num_threads()); }
  // One that takes half of the threads, if two problems of these sizes run side by side.
  std::optional<Plan> plan_of_half(const Sizes& sizes, bool backward) const;
  // Those of layers as a wavefront, given the sizes of each; none for layers that do not run so.
  static std::vector<std::optional<Plan>> plans_of_wave(const std::vector<const PackedLayer*>& layers,
                                                        const std::vector<Sizes>& sizes, bool backward);

  // Checkpoints::steps for checkpoints at least `every` >= 1 steps apart; 0 for a cell of which nothing but y is kept.
  int64_t segment_steps(const Sizes& sizes, int64_t every) const;

 private:
  const BackwardPanels<T>& backward_panels() const;  // packed when first wanted
  Plan plan(const Sizes& sizes, bool backward, int threads) const;

  auto prepare(const ForwardProblem<T>& problem, const Plan& plan) const;
  auto prepare(const BackwardProblem<T>& problem, const Plan& plan) const;
  template <class Problem>
  void run_alone(const Problem& problem, bool backward) const;
  static std::vector<Plan> plans_together(const std::vector<const PackedLayer*>& layers,
                                          const std::vector<Sizes>& sizes, bool backward);
  template <class Problem>
  static void run_wave(const std::vector<const PackedLayer*>& layers, const std::vector<Problem>& problems,
                       bool backward);
  template <class Problem>
  void run_with(const Problem& problem, const PackedLayer& other, const Problem& its, bool backward) const;

  int cell_;
  Sizes sizes_;
  Weights<T> weights_;
  Buffer forward_memory_;
  ForwardPanels<T> forward_;
  mutable std::once_flag backward_packed_;
  mutable Buffer backward_memory_;
  mutable BackwardPanels<T> backward_;
};

// c (M, N) = a (M, K) b (K, N) + bias (N); see MatmulTask. threads and workspace are filled in.
template <class T>
void matmul(MatmulTask<T> task);

// out = x scaled or zero; see DropoutTask.
template <class T>
void dropout(const DropoutTask<T>& task);

// Rows of a softmax; see SoftmaxTask.
template <class T>
void exponentials(const SoftmaxTask<T>& task);
template <class T>
void scale_rows(const SoftmaxTask<T>& task);
template <class T>
void cross_entropy(const SoftmaxTask<T>& task);

// Rows of a table's gradient; see ScatterTask.
template <class T>
void scatter_add(const ScatterTask<T>& task);

// A list of vectors is made of these. Vectors may share memory: they then take effect one after the other.
template <class T>
struct Vector {
  T* data;
  int64_t size;
};

// One step of an optimiser, kOptimisers[optimiser], for parameters of the given sizes (count).
template <class T>
void update(int optimiser, const double* numbers, const UpdateItem<T>* items, const int64_t* sizes, int64_t count);

// Every vector times a factor, in place.
template <class T>
void scale(const Vector<T>* vectors, int64_t count, T factor);

// sums[k] = the squares of vector k, summed in float64: by blocks, and the blocks in rising order.
template <class T>
void sums_of_squares(const Vector<const T>* vectors, int64_t count, double* sums);

// Operations a second, two a multiply-add, that all threads do together when each does nothing but independent
// multiply-adds in registers for so long.
template <class T>
double peak(double seconds);

}  // namespace fusedrnn::cpu
