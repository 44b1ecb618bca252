// Products of sizes that must not wrap.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <stdexcept>

namespace fusedrnn {

// The product of factors >= 0. Throws std::overflow_error when it does not fit into 63 bits.
inline int64_t checked_product(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  bool zero = false;
  for (const int64_t factor : factors) zero = zero || factor == 0;
  if (zero) return 0;
  for (const int64_t factor : factors) {
    if (product > std::numeric_limits<int64_t>::max() / factor)
      throw std::overflow_error("fusedrnn: the sizes of this problem multiply to more than 2**63 - 1 elements");
    product *= factor;
  }
  return product;
}

}  // namespace fusedrnn
