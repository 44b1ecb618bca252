// Tensor cores of the emulated device, in place of csrc/cuda/mma.h, which says what each thread of a warp holds.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/number.h"

namespace fusedrnn::cuda {

template <class T>
void multiply_tensor(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], T) {
  constexpr int kLanes = 32;
  struct Held {
    uint32_t a[4], b[2];
  };
  static Held held[kLanes * 32];  // of all warps of a block
  const int lane = static_cast<int>(threadIdx.x) % kLanes, g = lane / 4, t = lane % 4;
  Held* warp = held + threadIdx.x / kLanes * kLanes;
  std::memcpy(warp[lane].a, a, sizeof a);
  std::memcpy(warp[lane].b, b, sizeof b);
  __syncwarp();
  const auto number = [](const uint32_t* words, int part, int half) {
    T value;
    std::memcpy(&value, reinterpret_cast<const char*>(words + part) + half * sizeof(T), sizeof value);
    return wide(value);
  };
  const auto a_at = [&](int row, int k) { return number(warp[row % 8 * 4 + k % 8 / 2].a, row / 8 + k / 8 * 2, k % 2); };
  const auto b_at = [&](int k, int column) { return number(warp[column * 4 + k % 8 / 2].b, k / 8, k % 2); };
  for (int part = 0; part < 4; ++part)
    for (int k = 0; k < 16; ++k) c[part] += a_at(g + part / 2 * 8, k) * b_at(k, t * 2 + part % 2);
  __syncwarp();
}

}  // namespace fusedrnn::cuda
