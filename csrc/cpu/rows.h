// The rows of a batch in order of falling length, so that the rows still live at a step are a prefix.
#pragma once

#include <cstdint>
#include <vector>

#include "contract/problem.h"

namespace fusedrnn::cpu {

struct RowOrder {
  std::vector<int64_t> row;     // row[m]: the batch row at position m
  std::vector<int64_t> length;  // length[m], falling
  int64_t steps() const { return length.empty() ? 0 : length.front(); }
};

RowOrder order_rows(const Sizes& sizes, const Extent& extent);

}  // namespace fusedrnn::cpu
