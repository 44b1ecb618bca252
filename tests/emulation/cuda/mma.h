// Tensor cores of the emulated device, in place of csrc/cuda/mma.h; fragment.h says what each thread of a warp
// holds.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "cuda/fragment.h"
#include "cuda/number.h"

namespace fusedrnn::cuda {

// float: to the ten bits of mantissa that tensor cores read, ties away from zero.
template <class T>
T round_tensor(T x) {
  if constexpr (std::is_same_v<T, float>) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    constexpr uint32_t kInfinite = 0x7F800000, kHalf = 1u << 12, kLost = (1u << 13) - 1;
    if ((bits & kInfinite) != kInfinite) bits = (bits + kHalf) & ~kLost;
    std::memcpy(&x, &bits, sizeof bits);
  }
  return x;
}

template <class T>
void multiply_tensor(float (&c)[4], const FragmentA<T>& a, const FragmentB<T>& b) {
  struct Held {
    FragmentA<T> a;
    FragmentB<T> b;
  };
  static Held held[Fragment::kLanes * 32];  // of all warps of a block
  const int lane = static_cast<int>(threadIdx.x) % Fragment::kLanes, g = lane / 4, t = lane % 4;
  Held* warp = held + threadIdx.x / Fragment::kLanes * Fragment::kLanes;
  warp[lane] = {a, b};
  __syncwarp();
  for (int part = 0; part < 4; ++part)
    for (int k = 0; k < Fragment::kDepth; ++k) {
      const int row = g + part / 2 * 8, column = t * 2 + part % 2;
      c[part] += wide(warp[Fragment::lane(row, k)].a.number[Fragment::number(row, k, sizeof(T))]) *
                 wide(warp[column * 4 + k / 4].b.number[k % 4]);
    }
  __syncwarp();
}

}  // namespace fusedrnn::cuda
