// The contract: what one call to a backend computes.
//
// A problem is ONE layer in ONE direction over a batch of sequences, forward or backward through time. Layers and
// directions are the business of Python. Sizes are 64-bit. Everything here is plain data: pointers belong to the caller
// and stay valid for the whole call; outputs are assigned, never accumulated, and overlap nothing else.
//
//   T steps   B rows   I inputs   H hidden units   P outputs (P == H without a projection)
//   G gates   S states   K saved values of a cell (compile-time constants of csrc/cells)
//
// State 0 is the output h, with P columns; states 1.. have H columns.
#pragma once

#include <cstdint>

#include "contract/inline.h"

namespace fusedrnn {

constexpr int kMaxStates = 4;

struct Sizes {
  int64_t T, B, I, H, P;
};

// A view of a (T, B, C) array whose last axis is contiguous. Strides count elements.
template <class E>
struct Sequence {
  E* data = nullptr;  // nullptr: absent
  int64_t step_stride = 0;
  int64_t row_stride = 0;

  FUSEDRNN_INLINE E* at(int64_t t, int64_t b) const { return data + t * step_stride + b * row_stride; }
  FUSEDRNN_INLINE explicit operator bool() const { return data != nullptr; }
};

// Row-major, contiguous, in PyTorch's gate order.
template <class T>
struct Weights {
  const T* w_ih = nullptr;  // (G*H, I)
  const T* w_hh = nullptr;  // (G*H, P)
  const T* b_ih = nullptr;  // (G*H), nullptr: no bias
  const T* b_hh = nullptr;  // (G*H), nullptr: no bias
  const T* w_hr = nullptr;  // (P, H), nullptr: no projection, P == H
};

// Which values of the sequences count. Rows are independent of one another.
struct Extent {
  bool reverse = false;              // start at each row's last step
  const int64_t* lengths = nullptr;  // (B), 0 <= length <= T; nullptr: every row has T steps
  Sequence<const uint8_t> reset;     // (T, B), not 0: a new segment starts at t; absent: none does
};

// What forward keeps for backward, all of it dense, by steps from where a row starts (its last step where `reverse`)
// and written at live steps only.
template <class E>
struct Saved {
  E* gates = nullptr;   // (T, B, K, H): the cell's saved values
  E* states = nullptr;  // (T, B, S - 1, H): states 1.. after each step
  E* raw = nullptr;     // (T, B, H): the output before the projection; nullptr without one
};

// Or what it keeps instead, where that would be too much. Sequences are cut into segments of `steps` steps, counted
// back from the last step of the longest row; the first one may be shorter. Forward keeps states 1.. as they enter each
// segment but the first; backward makes the saved values of one segment at a time again. h is found in y.
template <class E>
struct Checkpoints {
  int64_t steps = 0;    // 0: everything is saved
  E* states = nullptr;  // (N, S - 1, B, H), N + 1 segments in T steps: [0] enters the last one; nullptr where S == 1

  // Whether a segment but the first begins at step s; the longest row has `longest` steps.
  FUSEDRNN_INLINE bool enters(int64_t s, int64_t longest) const {
    return steps > 0 && s > 0 && (longest - s) % steps == 0;
  }

  // State k of S, (B, H), as it enters the segment that begins at step s > 0; the longest row has `longest` steps.
  FUSEDRNN_INLINE E* entering(int k, int64_t s, int64_t longest, const Sizes& sizes, int S) const {
    const int64_t n = (longest - s) / steps - 1;
    return states + (n * (S - 1) + k - 1) * sizes.B * sizes.H;
  }
};

template <class T>
struct ForwardProblem {
  Sizes sizes;
  Extent extent;
  Sequence<const T> x;            // (T, B, I); absent when ids are given
  Sequence<const int64_t> ids;    // (T, B): one-hot input as indices into I
  const T* state_in[kMaxStates];  // (B, P or H), nullptr: zeros
  Sequence<T> y;                  // (T, B, P); zero beyond a row's length
  T* state_out[kMaxStates];       // (B, P or H): after each row's last step
  Saved<T> saved;                 // saved.gates, .states and .raw all null: inference
  bool keep = false;              // fill `saved`
  Checkpoints<T> checkpoints;     // with steps > 0: fill these and not `saved`
};

template <class T>
struct BackwardProblem {
  Sizes sizes;
  Extent extent;
  Sequence<const T> x;               // as in forward
  Sequence<const int64_t> ids;       // as in forward
  const T* state_in[kMaxStates];     // as in forward
  Sequence<const T> y;               // as forward left it
  Saved<const T> saved;              // as forward left it
  Checkpoints<const T> checkpoints;  // as forward left them
  Sequence<const T> dy;              // (T, B, P), absent: zeros; ignored beyond a row's length
  const T* dstate_out[kMaxStates];   // (B, P or H), nullptr: zeros
  Sequence<T> dx;                    // (T, B, I), absent: not wanted; zero beyond a row's length
  T* dstate_in[kMaxStates];          // (B, P or H)
  T* dw_ih;                          // (G*H, I)
  T* dw_hh;                          // (G*H, P)
  T* db_ih;                          // (G*H), nullptr: no bias
  T* db_hh;                          // (G*H), nullptr: no bias
  T* dw_hr;                          // (P, H), nullptr: no projection
};

}  // namespace fusedrnn
