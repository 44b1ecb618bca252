// The tiers behind one face: each runs all steps of a loop, whose states have been made ready.
#pragma once

#include "cuda/backend.h"

namespace fusedrnn::cuda {

template <class T>
void forward_steps(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host);
template <class T>
void backward_steps(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host);

template <class T>
void forward_resident(int cell, const Directions<ForwardLoop<T>>& loops, const Plan& plan, const Host& host);
template <class T>
void backward_resident(int cell, const Directions<BackwardLoop<T>>& loops, const Plan& plan, const Host& host);

// A list of functions, one a cell in the order of kCells, from `function<Cell, T>`.
#define FUSEDRNN_OF_CELL(name, Cell) &FUSEDRNN_FUNCTION<Cell, T>,

// What every kind of number needs.
#define FUSEDRNN_NUMBERS(X) X(float) X(double) X(__half) X(__nv_bfloat16)

}  // namespace fusedrnn::cuda
