// What each of the 32 lanes of a warp holds of a product of tensor cores, c (16, 8) += a (16, 16) b (16, 8).
//
// The order of the sixteen k is ours to choose: a lane takes four neighbouring ones, so that it reads them as one word.
// With g = lane / 4 and t = lane % 4 it holds
//   a    rows g and g + 8, k = 4t .. 4t + 3: eight numbers, in the order of the instruction's registers
//   b    k = 4t .. 4t + 3 of column g
//   c    c[0] c[1] row g, columns 2t and 2t + 1    c[2] c[3] row g + 8
#pragma once

#include "contract/inline.h"

namespace fusedrnn::cuda {

struct Fragment {
  static constexpr int kRows = 16, kDepth = 16, kColumns = 8, kLanes = 32;
  static constexpr int kLeft = 8, kRight = 4;  // numbers of a lane

  // The lane that holds row r and k of a, and which of its numbers that is, for numbers of so many bytes.
  FUSEDRNN_INLINE static int lane(int r, int k) { return r % 8 * 4 + k / 4; }
  FUSEDRNN_INLINE static int number(int r, int k, int bytes) {
    return k % 4 / 2 * 4 + (bytes == 2 ? r / 8 * 2 + k % 2 : k % 2 * 2 + r / 8);
  }
};

template <class T>
struct alignas(16) FragmentA {
  T number[Fragment::kLeft];
};

template <class T>
struct alignas(Fragment::kRight * sizeof(T)) FragmentB {
  T number[Fragment::kRight];
};

}  // namespace fusedrnn::cuda
