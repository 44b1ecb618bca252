// What a thread does while it waits for another one that will not be long.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#else
#include <thread>
#endif

namespace fusedrnn::cpu {

inline void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace fusedrnn::cpu
