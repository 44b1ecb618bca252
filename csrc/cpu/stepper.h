// One step at a time: a stack of layers whose state stays here from one step to the next.
//
// A step is a forward problem with T == 1 for every layer, run by the kernel that runs whole sequences, so the bits are
// the same. All of it is made ready once: problems, plans, workspace. A step allocates nothing.
#pragma once

#include <vector>

#include "contract/problem.h"
#include "cpu/backend.h"
#include "cpu/buffer.h"
#include "cpu/kernels.h"
#include "cpu/rows.h"
#include "cpu/task.h"

namespace fusedrnn::cpu {

template <class T>
class Stepper {
 public:
  // `layers`, at least one, take the outputs of the one before and must outlive the stepper; B >= 1. State is zero.
  Stepper(const std::vector<const PackedLayer<T>*>& layers, int64_t B);
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  // Where the caller puts the input of the next step.
  T* x() const { return x_; }            // (B, I)
  int64_t* ids() const { return ids_; }  // (B), each in [0, I)

  // Takes x, or ids, and writes y (B, P), which may be anything but memory of the stepper.
  void step(bool from_ids, T* y);

  // State k between two steps: (L, B, P) for k == 0, else (L, B, H).
  T* state(int k) const { return state_[turn_][k]; }
  int64_t state_columns(int k) const { return k == 0 ? sizes_.P : sizes_.H; }
  int states() const { return kCells[cell_].states; }

  int64_t layers() const { return layers_; }
  const Sizes& sizes() const { return sizes_; }  // T == 1; I is that of the first layer
  double cycles() const { return cycles_; }      // a guess at one step

 private:
  std::vector<Plan> make_plans(const std::vector<const PackedLayer<T>*>& layers);
  void carve(char* base);
  void fill_problem(int64_t layer, int turn, int64_t inputs);

  const int cell_;
  const int64_t layers_;
  Sizes sizes_;
  RowOrder order_;
  int threads_ = 1;
  double cycles_ = 0;
  void (*forward_)(const ForwardTask<T>&, Team&, int thread);
  int turn_ = 0;  // which of the two states is the present one: a step reads it and writes the other
  size_t bytes_ = 0;
  Buffer memory_;
  Buffer workspace_;  // of one layer; they take turns
  T* x_ = nullptr;
  int64_t* ids_ = nullptr;
  T* between_ = nullptr;  // (L - 1, B, P): outputs that are the next layer's input
  T* state_[2][kMaxStates] = {};
  std::vector<ForwardProblem<T>> problems_[2];  // by turn, then layer
  std::vector<ForwardTask<T>> tasks_[2];
};

}  // namespace fusedrnn::cpu
