// Philox4x32-10 (Salmon et al. 2011): random words as a pure function of a counter and a key.
//
// Masks of every backend come from it; docs and python/fusedrnn/random.py say which field of the counter holds what.
#pragma once

#include <cstdint>

#include "contract/inline.h"

namespace fusedrnn {

// Coordinates of the masks of one dropout, apart from step t, row b and column j.
struct MaskCoordinates {
  uint64_t seed;
  uint32_t site, step;
  uint64_t row_offset;
};

// The four words of `Lanes` neighbouring blocks: lane l has counter (site << 24 | first_block + l, t, row, step).
// words[w][l] belongs to column 4 * (first_block + l) + w.
template <int Lanes>
FUSEDRNN_INLINE void mask_words(const MaskCoordinates& at, uint32_t first_block, uint32_t t, uint32_t row,
                                uint32_t (&words)[4][Lanes]) {
  uint32_t key0 = static_cast<uint32_t>(at.seed), key1 = static_cast<uint32_t>(at.seed >> 32);
  // Each word in 64 bits, and loops that stay loops: so compilers multiply vectors of them.
  uint64_t c0[Lanes], c1[Lanes], c2[Lanes], c3[Lanes];
  FUSEDRNN_LOOP
  for (int l = 0; l < Lanes; ++l) {
    c0[l] = at.site << 24 | (first_block + static_cast<uint32_t>(l));
    c1[l] = t;
    c2[l] = row;
    c3[l] = at.step;
  }
  for (int round = 0; round < 10; ++round) {
    FUSEDRNN_LOOP
    for (int l = 0; l < Lanes; ++l) {
      const uint64_t product0 = uint64_t{0xD2511F53} * static_cast<uint32_t>(c0[l]);
      const uint64_t product1 = uint64_t{0xCD9E8D57} * static_cast<uint32_t>(c2[l]);
      c0[l] = product1 >> 32 ^ c1[l] ^ key0;
      c1[l] = static_cast<uint32_t>(product1);
      c2[l] = product0 >> 32 ^ c3[l] ^ key1;
      c3[l] = static_cast<uint32_t>(product0);
    }
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  FUSEDRNN_LOOP
  for (int l = 0; l < Lanes; ++l) {
    words[0][l] = static_cast<uint32_t>(c0[l]);
    words[1][l] = static_cast<uint32_t>(c1[l]);
    words[2][l] = static_cast<uint32_t>(c2[l]);
    words[3][l] = static_cast<uint32_t>(c3[l]);
  }
}

}  // namespace fusedrnn
