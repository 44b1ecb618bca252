#include "cpu/rows.h"

#include <algorithm>
#include <numeric>

namespace fusedrnn::cpu {

RowOrder order_rows(const Sizes& sizes, const Extent& extent) {
  RowOrder order;
  order.row.resize(sizes.B);
  std::iota(order.row.begin(), order.row.end(), int64_t{0});
  if (extent.lengths == nullptr) {
    order.length.assign(sizes.B, sizes.T);
    return order;
  }
  std::stable_sort(order.row.begin(), order.row.end(),
                   [&](int64_t a, int64_t b) { return extent.lengths[a] > extent.lengths[b]; });
  order.length.resize(sizes.B);
  for (int64_t m = 0; m < sizes.B; ++m) order.length[m] = extent.lengths[order.row[m]];
  return order;
}

}  // namespace fusedrnn::cpu
