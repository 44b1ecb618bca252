// What the recurrent loops are given on the device: one layer in one direction, whose large products are made outside.
// A call computes some of the steps; arrays of a loop that are not by place are those of all steps.
//
// Letters and arrays are those of contract/problem.h. The input products gx = x W_ih^T are there before the loop runs;
// gate gradients are there for the products of the weight gradients when it has run. All pointers are to device memory.
#pragma once

#include "cuda/number.h"
#include "cuda/rows.h"

namespace fusedrnn::cuda {

template <class T>
struct ForwardLoop {
  Sizes sizes;
  Rows rows;
  Part part;
  const T* gx;                    // (places, G*H), without bias
  const T* w_hh;                  // (G*H, P)
  const T* b_ih;                  // (G*H), nullptr: no bias
  const T* b_hh;                  // (G*H), nullptr: no bias
  const T* w_hr;                  // (P, H), nullptr: no projection
  const T* state_in[kMaxStates];  // (B, P or H), nullptr: zeros
  Sequence<T> y;                  // (T, B, P); beyond a row's length it is not touched
  T* state_out[kMaxStates];       // (B, P or H)
  Wide<T>* running[kMaxStates];   // (B, H): states 1.. from step to step; state_out itself where T is wide
  Saved<T> saved;                 // (places, ..); null: inference
  T* raw;                         // (B, H): the output before the projection, of one step; nullptr without one
};

template <class T>
struct BackwardLoop {
  Sizes sizes;
  Rows rows;
  Part part;
  const T* w_hh;                    // as in forward
  const T* w_hh_turned;             // (P, G*H): W_hh^T; nullptr: it is not there
  const T* w_hr;                    // as in forward
  const T* state_in[kMaxStates];    // as in forward, states 1.. as they enter the first step that is kept
  Sequence<const T> y;              // as forward left it
  Saved<const T> saved;             // as forward left it
  Sequence<const T> dy;             // (T, B, P), absent: zeros
  const T* dstate_out[kMaxStates];  // (B, P or H), nullptr: zeros
  T* dstate_in[kMaxStates];         // (B, P or H)
  Wide<T>* running[kMaxStates];     // (B, P or H): gradients of the states from step to step, or dstate_in itself
  T* dgx;                           // (places, G*H)
  T* dgh;                           // (places, G*H), dgx when the cell has one gate gradient
  T* before;                        // (places, P): h before each step, the other factor of dW_hh
  T* doutput;                       // (places, P): gradient of the projected output; nullptr without a projection
};

// The loops of one launch: of a layer in one direction, or in both, of the same sizes, lengths and steps.
template <class Loop>
struct Directions {
  Loop of[2];
  int count;
};

}  // namespace fusedrnn::cuda
