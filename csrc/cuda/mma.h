// One product of tensor cores: c (16, 8) += a (16, 16) b (16, 8) in float, by the 32 threads of a warp together.
//
// fragment.h says what a thread holds. Two bytes a number are one instruction (PTX ISA, mma.m16n8k16), floats two,
// which read 19 bits of them (mma.m16n8k8 of tf32): round_tensor has rounded the rest away.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

#include "cuda/fragment.h"

namespace fusedrnn::cuda {

// The number that tensor cores read.
template <class T>
__device__ T round_tensor(T x) {
  return x;
}
template <>
__device__ inline float round_tensor<float>(float x) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return __uint_as_float(rounded);
}

// What a lane holds as registers of 32 bits.
template <class Held>
struct Registers {
  uint32_t word[sizeof(Held) / sizeof(uint32_t)];
  __device__ explicit Registers(const Held& held) { memcpy(word, held.number, sizeof word); }
};

__device__ inline void multiply_tensor(float (&c)[4], const FragmentA<__half>& left, const FragmentB<__half>& right) {
  const Registers a(left);
  const Registers b(right);
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1]));
}

__device__ inline void multiply_tensor(float (&c)[4], const FragmentA<__nv_bfloat16>& left,
                                       const FragmentB<__nv_bfloat16>& right) {
  const Registers a(left);
  const Registers b(right);
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1]));
}

__device__ inline void multiply_tensor(float (&c)[4], const FragmentA<float>& left, const FragmentB<float>& right) {
  const Registers a(left);
  const Registers b(right);
#pragma unroll
  for (int i = 0; i < 2; ++i)
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.word[4 * i]), "r"(a.word[4 * i + 1]), "r"(a.word[4 * i + 2]), "r"(a.word[4 * i + 3]),
          "r"(b.word[2 * i]), "r"(b.word[2 * i + 1]));
}

}  // namespace fusedrnn::cuda
