// Memory that comes back warm.
//
// Results, saved values and workspaces of a training step are megabytes that are freed and asked for again, step after
// step. The system would take them back each time, and hand them out again as pages that it has to find and clear at
// the first touch, which costs as much as computing what is written there. So freed blocks are kept for the next
// request of their size.
#pragma once

#include <cstddef>

namespace fusedrnn::cpu {

// Less is not kept, for the system's allocator is good at that; what is kept begins at a cache line, so that threads
// that write different rows write different lines.
constexpr size_t kSmallMemory = 16 << 10;

// `bytes` bytes, aligned to 64. Throws std::bad_alloc. Any thread may call both.
char* take_memory(size_t bytes);

// Gives back what take_memory(bytes) returned.
void give_memory(char* at, size_t bytes) noexcept;

}  // namespace fusedrnn::cpu
