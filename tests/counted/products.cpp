// Products of the tile (csrc/cpu/tile.h) with counted vectors: every number is right, and a last group of few columns
// is multiplied in half vectors just where it should be. Numbers are small integers, so sums are exact in any order.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu/tile.h"

using namespace fusedrnn::counted;

constexpr int W = Vec<double>::kWidth;

struct Size {
  int64_t rows, columns, terms, run;
  Order order;
};

template <int G>
void fail(const Size& size, const char* what) {
  std::printf("%s: %lld rows, %lld columns of %d gates, %lld terms in runs of %lld, %s\n", what,
              static_cast<long long>(size.rows), static_cast<long long>(size.columns), G,
              static_cast<long long>(size.terms), static_cast<long long>(size.run),
              size.order == Order::kRising ? "rising" : "falling");
  std::exit(1);
}

template <int G>
void check(const Size& size) {
  const int64_t groups = (size.columns + W - 1) / W, K = size.terms;
  std::vector<double> a(static_cast<size_t>(size.rows * K)), panels(static_cast<size_t>(groups * K * G * W));
  std::vector<const double*> rows;
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<double>(i % 7) - 3;
  for (size_t i = 0; i < panels.size(); ++i) panels[i] = static_cast<double>(i % 11) - 5;
  for (int64_t r = 0; r < size.rows; ++r) rows.push_back(a.data() + r * K);

  std::vector<int> made(static_cast<size_t>(size.rows * groups));
  const int64_t full_before = Vec<double>::multiply_adds, half_before = Half<double>::multiply_adds;
  product<double, G>(size.rows, rows.data(), K, size.run, panels.data(), 0, groups, {size.order, size.columns},
                     one_by_one([&](int64_t r, int64_t g, const double* sums) {
                       ++made[static_cast<size_t>(r * groups + g)];
                       for (int q = 0; q < G; ++q)
                         for (int64_t lane = 0; lane < W && g * W + lane < size.columns; ++lane) {
                           double expected = 0;
                           for (int64_t k = 0; k < K; ++k)
                             expected += rows[static_cast<size_t>(r)][k] *
                                         panels[static_cast<size_t>(((g * K + k) * G + q) * W + lane)];
                           if (sums[q * W + lane] != expected) fail<G>(size, "wrong sum");
                         }
                     }));
  for (const int times : made)
    if (times != 1) fail<G>(size, "a group not made once");

  // Three gates of a group keep the multipliers busy in tiles of three rows and more; one gate does not.
  const int64_t tiles = (size.rows + TileShape<G>::kRows - 1) / TileShape<G>::kRows;
  const bool tall = (size.rows + tiles - 1) / tiles > 2;
  const int64_t halves = G >= 3 && tall && groups * W - size.columns >= W / 2 ? 1 : 0;
  const int64_t each = size.rows * K * G;
  if (Half<double>::multiply_adds - half_before != halves * each) fail<G>(size, "half vectors");
  if (Vec<double>::multiply_adds - full_before != (groups - halves) * each) fail<G>(size, "full vectors");
}

int main() {
  for (const Order order : {Order::kRising, Order::kFalling})
    for (int64_t rows = 1; rows <= 26; ++rows)
      for (int64_t columns = 1; columns <= 5 * W; ++columns)
        for (const int64_t terms : {0, 1, 16, 40}) {
          const Size size{rows, columns, terms, 16, order};
          check<1>(size);
          check<3>(size);
          check<4>(size);
        }
}
