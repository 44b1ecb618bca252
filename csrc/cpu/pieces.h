// A list of vectors laid end to end, shared out among the threads evenly, wherever one ends and the next begins.
#pragma once

#include "cpu/share.h"

namespace fusedrnn::FUSEDRNN_ISA {

// The part of `total` elements that is a thread's, in grains of several cache lines.
FUSEDRNN_INLINE Range elements_of(int64_t total, const Team& team, int thread) {
  constexpr int64_t kGrain = 256;
  const Range grains = part_of((total + kGrain - 1) / kGrain, thread, team.size());
  return {grains.begin * kGrain, smaller(grains.end * kGrain, total)};
}

// function(k, part) for each vector k, [starts[k], starts[k + 1]) of the list, of which a part lies in the range.
template <class Function>
FUSEDRNN_INLINE void for_each_piece(const int64_t* starts, int64_t count, Range range, Function&& function) {
  for (int64_t k = 0; k < count; ++k) {
    const Range part{larger(range.begin - starts[k], 0), smaller(range.end, starts[k + 1]) - starts[k]};
    if (part.begin < part.end) function(k, part);
  }
}

// Asks for what is read next but a few: these vectors come from memory, where the processor by itself looks ahead to
// the end of a page only.
template <class T>
FUSEDRNN_INLINE void prefetch(const T* at) {
  constexpr int64_t kAhead = 4096;  // bytes
  __builtin_prefetch(reinterpret_cast<const char*>(at) + kAhead);
}

}  // namespace fusedrnn::FUSEDRNN_ISA
