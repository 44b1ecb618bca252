// Attributes, and first those that keep code of different instruction sets apart.
//
// A function of a header that is compiled once with AVX-512 and once without would be emitted twice under one name, and
// the linker could pick the AVX-512 one for everybody. So such functions are inlined without exception. A CUDA compiler
// makes them for the device, too.
#pragma once

#if defined(__CUDACC__)
#define FUSEDRNN_INLINE __host__ __device__ __forceinline__
#define FUSEDRNN_INLINE_LAMBDA
#define FUSEDRNN_NOINLINE __host__ __device__ __noinline__
#define FUSEDRNN_RESTRICT __restrict__
#define FUSEDRNN_LOOP
#elif defined(_MSC_VER) && !defined(__clang__)
#define FUSEDRNN_INLINE __forceinline
#define FUSEDRNN_INLINE_LAMBDA
#define FUSEDRNN_NOINLINE __declspec(noinline)
#define FUSEDRNN_RESTRICT __restrict
#define FUSEDRNN_LOOP
#else
#define FUSEDRNN_INLINE inline __attribute__((always_inline))
#define FUSEDRNN_INLINE_LAMBDA __attribute__((always_inline))
#define FUSEDRNN_NOINLINE __attribute__((noinline))
#define FUSEDRNN_RESTRICT __restrict__
#define FUSEDRNN_LOOP _Pragma("GCC unroll 1")
#endif
