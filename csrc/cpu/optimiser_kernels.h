// The kernels of optimiser_kernels.cpp. They round every operation by itself, so that their results are the same bits
// on every instruction set; the other kernels fuse multiplications with additions where the processor can.
#pragma once

#include "cpu/pool.h"
#include "cpu/simd.h"
#include "cpu/task.h"

namespace fusedrnn::FUSEDRNN_ISA {

template <template <class, class> class Rule, class T>
void update(const cpu::UpdateTask<T>& task, cpu::Team& team, int thread);  // cpu/update.h

template <class T>
void sum_squares(const cpu::SquaresTask<T>& task, cpu::Team& team, int thread);  // cpu/squares.h

template <class T>
void scale(const cpu::ScaleTask<T>& task, cpu::Team& team, int thread);  // cpu/scale.h

}  // namespace fusedrnn::FUSEDRNN_ISA
