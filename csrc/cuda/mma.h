// One product of tensor cores: c (16, 8) += a (16, 16) b (16, 8) in float, by the 32 threads of a warp together.
//
// With g = lane / 4 and t = lane % 4, a thread holds (PTX ISA, mma.m16n8k16)
//   a[0] row g, columns 2t 2t+1    a[1] row g + 8, the same    a[2], a[3] columns 8 further
//   b[0] rows 2t 2t+1, column g    b[1] rows 8 further
//   c[0] c[1] row g, columns 2t 2t+1    c[2] c[3] row g + 8
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace fusedrnn::cuda {

__device__ inline void multiply_tensor(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void multiply_tensor(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace fusedrnn::cuda
