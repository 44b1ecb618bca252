// Many vectors in one launch: a table of them among the parameters of the kernel, which have room for 4 KB.
//
// A block has a piece of one vector. What does not fit in one table goes into further launches; so does an entry that
// overlaps with one before it, since blocks of a launch run in any order.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"

namespace fusedrnn::cuda {

constexpr int kMostEntries = 32, kTableThreads = 128;
constexpr int64_t kPiece = 8 * kTableThreads;  // elements of a block

// An Entry has `size`, and `begin()`, where it is written to.
template <class Entry>
struct Table {
  int count = 0;
  int64_t blocks[kMostEntries + 1] = {};  // of all entries before
  Entry entries[kMostEntries];

  bool overlaps(const Entry& entry) const {
    return std::any_of(entries, entries + count, [&](const Entry& other) {
      return entry.begin() < other.begin() + other.size && other.begin() < entry.begin() + entry.size;
    });
  }

  void add(const Entry& entry, int64_t blocks_of_entry) {
    entries[count] = entry;
    blocks[count + 1] = blocks[count] + blocks_of_entry;
    ++count;
  }

  __device__ int entry_of(int64_t block) const {
    int k = 0;
    while (block >= blocks[k + 1]) ++k;
    return k;
  }
};

// Calls visit(entry, j) for every element j that is the thread's.
template <class Entry, class Visit>
__device__ void for_own_elements(const Table<Entry>& table, Visit visit) {
  const int64_t block = blockIdx.x;
  const int k = table.entry_of(block);
  const Entry& entry = table.entries[k];
  const int64_t begin = (block - table.blocks[k]) * kPiece + threadIdx.x;
  for (int64_t j = begin; j < begin + kPiece && j < entry.size; j += kTableThreads) visit(entry, j);
}

// Launches kernel(table, arguments...) for all of `count` entries.
template <class Entry, class... Parameters, class... Arguments>
void launch_tables(const char* name, void (*kernel)(Table<Entry>, Parameters...), const Entry* entries, int64_t count,
                   cudaStream_t stream, const Arguments&... arguments) {
  Table<Entry> table;
  for (int64_t k = 0; k < count; ++k) {
    if (table.count == kMostEntries || table.overlaps(entries[k])) {
      launch(name, kernel, {table.blocks[table.count], kTableThreads}, stream, table, arguments...);
      table = Table<Entry>();
    }
    table.add(entries[k], divide_up(entries[k].size, kPiece));
  }
  launch(name, kernel, {table.blocks[table.count], kTableThreads}, stream, table, arguments...);
}

}  // namespace fusedrnn::cuda
