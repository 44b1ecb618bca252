// The table of what one instruction set offers. Each set is compiled from kernels.cpp on its own and fills one table.
#pragma once

#include <cstddef>

#include "cells/registry.h"
#include "cpu/pool.h"
#include "cpu/task.h"

namespace fusedrnn::cpu {

template <class T>
struct CellKernels {
  size_t (*forward_workspace)(const ForwardTask<T>&);
  void (*forward)(const ForwardTask<T>&, Team&, int thread);
  size_t (*backward_workspace)(const BackwardTask<T>&);
  void (*backward)(const BackwardTask<T>&, Team&, int thread);
};

template <class T>
struct TypeKernels {
  int width;  // lanes of a vector
  CellKernels<T> cells[kCellCount];
  // Panels of cpu/pack.h for `part` of `parts` of the groups.
  void (*pack_rows)(const T* w, int64_t gates, int64_t units, int64_t K, T* panels, int part, int parts);
  void (*pack_columns)(const T* w, int64_t columns, int64_t K, T* panels, int part, int parts);
  size_t (*matmul_workspace)(const MatmulTask<T>&);
  void (*matmul)(const MatmulTask<T>&, Team&, int thread);
  void (*dropout)(const DropoutTask<T>&, Team&, int thread);
  void (*exponentials)(const SoftmaxTask<T>&, Team&, int thread);
  void (*scale_rows)(const SoftmaxTask<T>&, Team&, int thread);
  void (*cross_entropy)(const SoftmaxTask<T>&, Team&, int thread);
  void (*scatter_add)(const ScatterTask<T>&, Team&, int thread);
  void (*updates[kOptimiserCount])(const UpdateTask<T>&, Team&, int thread);
  void (*scale)(const ScaleTask<T>&, Team&, int thread);
  void (*sum_squares)(const SquaresTask<T>&, Team&, int thread);
  int64_t (*multiply_add)(const PeakTask<T>&);  // returns how many operations these were, two a multiply-add
};

struct Kernels {
  const char* isa;
  TypeKernels<float> f32;
  TypeKernels<double> f64;

  template <class T>
  const TypeKernels<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float))
      return f32;
    else
      return f64;
  }
};

// The set in use: the best that the processor has, or the one that FUSEDRNN_ISA names. Throws std::invalid_argument
// when that one is unknown or not there.
const Kernels& kernels();

}  // namespace fusedrnn::cpu
