// What threads own in forward (csrc/cpu/share.h): every row of every group once, in one slot whoever owns it, and with
// groups shared by rows no thread has more than its part.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu/share.h"

using namespace fusedrnn;
using namespace fusedrnn::counted;

constexpr int W = Vec<double>::kWidth;

// A team is as large as the plan says, or one thread.
void check(const cpu::Plan& plan, const Sizes& sizes, const std::vector<int64_t>& lengths, int team) {
  const auto fail = [&](const char* what) {
    std::printf("%s: %d threads by %s, %d sharers, %lld rows, %lld units, %lld outputs, lengths %d\n", what,
                plan.threads, plan.split == cpu::Split::kRows ? "rows" : "units", plan.left_sharers,
                static_cast<long long>(sizes.B), static_cast<long long>(sizes.H), static_cast<long long>(sizes.P),
                !lengths.empty());
    std::exit(1);
  };
  const size_t B = static_cast<size_t>(sizes.B);
  std::vector<int64_t> row(B), length(B, sizes.T), positions(2 * B);
  for (size_t b = 0; b < B; ++b) row[b] = static_cast<int64_t>(b);
  if (!lengths.empty()) {
    std::stable_sort(row.begin(), row.end(), [&](int64_t a, int64_t b) {
      return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
    });
    for (size_t m = 0; m < B; ++m) length[m] = lengths[static_cast<size_t>(row[m])];
  }
  Extent extent{};
  extent.lengths = lengths.empty() ? nullptr : lengths.data();
  const Clock clock{extent, row.data(), length.data(), sizes.B};

  const int64_t groups = groups_of<double>(sizes.H), output_groups = groups_of<double>(sizes.P);
  std::vector<int> units(B * static_cast<size_t>(groups)), outputs(B * static_cast<size_t>(output_groups));
  std::vector<int64_t> slot_of(B, -1), position_in(B, -1);
  const auto count = [&](std::vector<int>& times, int64_t width, Range range, int64_t m) {
    for (int64_t g = range.begin; g < range.end; ++g) ++times[static_cast<size_t>(m * width + g)];
  };
  int64_t most = 0;
  for (int thread = 0; thread < team; ++thread) {
    int64_t work = 0;
    for (const Share& share : Shares<double>(sizes, plan, clock, team, thread, positions.data()))
      for (int64_t i = 0; i < share.rows; ++i) {
        const int64_t m = share.position(i), slot = share.slot(i);
        if (i > 0 && m <= share.position(i - 1)) fail("positions do not rise");
        if (slot < 0 || slot >= sizes.B) fail("a slot outside of the memory");
        int64_t& known = slot_of[static_cast<size_t>(m)];
        if (known >= 0 && known != slot) fail("a row in two slots");
        known = slot;
        int64_t& other = position_in[static_cast<size_t>(slot)];
        if (other >= 0 && other != m) fail("two rows in a slot");
        other = m;
        count(units, groups, share.units, m);
        count(outputs, output_groups, share.outputs, m);
        work += share.units.end - share.units.begin;
      }
    most = std::max(most, work);
  }
  for (const int times : units)
    if (times != 1) fail("units not owned once");
  for (const int times : outputs)
    if (times != 1) fail("outputs not owned once");
  const int64_t shared = divide_up(sizes.B, plan.left_sharers) + sizes.B * (groups / plan.threads);
  if (plan.left_sharers > 1 && team == plan.threads && most > shared) fail("a thread has more than its part");
}

int main() {
  for (int threads = 1; threads <= 9; ++threads)
    for (const int64_t B : {0, 1, 2, 7, 24, 50})
      for (int64_t H = 1; H <= 21 * W; H += 3)
        for (const int64_t P : {H, (H + 1) / 2}) {
          const Sizes sizes{.T = 10, .B = B, .I = 1, .H = H, .P = P};
          std::vector<int64_t> lengths;
          for (int64_t b = 0; b < B; ++b) lengths.push_back(b * 7 % 11);
          const int64_t groups = groups_of<double>(H), left = groups % threads;
          for (const bool with_lengths : {false, true}) {
            const auto with = with_lengths ? lengths : std::vector<int64_t>{};
            check({.threads = threads}, sizes, with, threads);
            if (groups < threads) continue;
            const int64_t sharers = left > 0 ? threads / left : 1;
            for (int n = 1; n <= sharers; ++n)
              for (const int team : {threads, 1})
                check({.threads = threads, .split = cpu::Split::kUnits, .left_sharers = n}, sizes, with, team);
          }
        }
}
