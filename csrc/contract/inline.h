// Two attributes that keep code of different instruction sets apart.
//
// A function of a header that is compiled once with AVX-512 and once without would be emitted twice under one name, and
// the linker could pick the AVX-512 one for everybody. So such functions are inlined without exception.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#define FUSEDRNN_INLINE __forceinline
#define FUSEDRNN_NOINLINE __declspec(noinline)
#define FUSEDRNN_RESTRICT __restrict
#else
#define FUSEDRNN_INLINE inline __attribute__((always_inline))
#define FUSEDRNN_NOINLINE __attribute__((noinline))
#define FUSEDRNN_RESTRICT __restrict__
#endif
