// The micro-kernel: a few rows times a few panels of weights, summed in registers.
//
// A panel holds the weights of one group of W units (W lanes of a vector) with all G gates of these units side by side,
//
//   panel[(k * G + q) * W + lane]   k: contraction   q: gate   lane: unit within the group
//
// so that one k loads G vectors and every row's gates of the same units end in registers together. Panels of
// consecutive groups follow each other at a distance of K * G * W. With G == 1 this is a plain packed matrix.
//
// Each sum takes k = 0 .. K-1 in this order, in runs: one accumulator for `run` terms, then its sum is added to those
// of the runs before. Whatever R and U are, a result does not depend on how rows and groups were split among tiles and
// threads. One accumulator for a thousand terms would lose two digits.
//
// Runs serve speed as well. A few tiles of rows take the same run of the same panels one after the other, so only the
// first of them finds the weights outside the nearest cache; the others read them there. Weights that the second cache
// does not hold are asked for meanwhile, one run ahead.
#pragma once

#include <type_traits>

#include "cpu/simd.h"

namespace fusedrnn::FUSEDRNN_ISA {

// Weights that a tile asks for while it multiplies: one cache line a term. They may lie beyond the last panel; nothing
// is read.
template <class T>
struct Ahead {
  const T* line = nullptr;  // nullptr: nothing is asked for
  int64_t step = 0;         // from one line to the next
};

template <class T>
using TileFunction = void (*)(int64_t terms, const T* const* a, int64_t k0, const T* panel, int64_t panel_pitch,
                              bool add, T* out, Ahead<T> ahead);

constexpr int64_t kRun = 128;                     // costs less than a hundredth of the time
constexpr int64_t kSecondCacheBytes = 512 << 10;  // that the weights of one product may fill

// A product of few columns is a dot product to other libraries, summed over the lanes of a vector: as exact with short
// runs.
FUSEDRNN_INLINE int64_t run_of(int64_t columns) { return columns < 16 ? 16 : kRun; }

// out[r][u][q][lane] = or += sum_k a[r][k0 + k] * panel_u[k][q][lane]
//   k < terms   r < R rows, u < U groups, q < G gates   V: Vec<T>, or Half<T> where the upper lanes have no columns
template <class V, class T, int G, int R, int U>
FUSEDRNN_NOINLINE void tile(int64_t terms, const T* const* a, int64_t k0, const T* panel, int64_t panel_pitch, bool add,
                            T* out, Ahead<T> ahead) {
  constexpr int W = Vec<T>::kWidth;
  const T* row[R];
  const T* weights[U];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) row[r] = a[r] + k0;
#pragma GCC unroll 8
  for (int u = 0; u < U; ++u) weights[u] = panel + u * panel_pitch;

  V sum[R][U * G];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < U * G; ++n) sum[r][n] = V(0);

  const auto add_term = [&](int64_t k) FUSEDRNN_INLINE_LAMBDA {
    V w[U * G];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u)
#pragma GCC unroll 8
      for (int q = 0; q < G; ++q) w[u * G + q] = V::load(weights[u] + (k * G + q) * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const V value(row[r][k]);
#pragma GCC unroll 8
      for (int n = 0; n < U * G; ++n) sum[r][n] = fma(value, w[n], sum[r][n]);
    }
  };
  if (ahead.line == nullptr) {
    for (int64_t k = 0; k < terms; ++k) add_term(k);
  } else {
    for (int64_t k = 0; k < terms; ++k, ahead.line += ahead.step) {
      __builtin_prefetch(ahead.line, 0, 2);  // into the second cache; the first is full of this run
      add_term(k);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < U * G; ++n) {
      T* at = out + (r * U * G + n) * W;
      (add ? V::load(at) + sum[r][n] : sum[r][n]).store(at);
    }
}

// The family of a cell type: every R and U whose sums fit into the registers.
template <int G>
struct TileShape {
  static constexpr int kGroups = G >= 4 ? 1 : G == 3 ? 1 : G == 2 ? 2 : 4;  // at full height
  static constexpr int kWideGroups = G >= 8 ? 1 : G >= 3 ? 2 : 4;           // when rows are few
  static constexpr int kRows = kAccumulators / (G * kGroups) > 8   ? 8
                               : kAccumulators / (G * kGroups) > 0 ? kAccumulators / (G * kGroups)
                                                                   : 1;
  static constexpr bool fits(int r, int u) { return r * u * G <= kAccumulators || (r == 1 && u == 1); }
};

// A half vector is for one group alone.
template <class T, int G, class V = Vec<T>>
struct Tiles {
  using Shape = TileShape<G>;
  static constexpr int kMaxGroups = sizeof(V) == sizeof(Vec<T>) ? Shape::kWideGroups : 1;

  template <int R, int U>
  static constexpr TileFunction<T> entry() {
    if constexpr (R <= Shape::kRows && U <= kMaxGroups && Shape::fits(R, U)) return &tile<V, T, G, R, U>;
    return nullptr;
  }
  template <int R>
  struct Row {
    TileFunction<T> by_groups[4] = {entry<R, 1>(), entry<R, 2>(), entry<R, 3>(), entry<R, 4>()};
  };

  // Which kernel takes `rows` <= kRows and as many of `groups` as fit.
  static TileFunction<T> pick(int rows, int64_t groups, int& taken) {
    static constexpr Row<1> r1{};
    static constexpr Row<2> r2{};
    static constexpr Row<3> r3{};
    static constexpr Row<4> r4{};
    static constexpr Row<5> r5{};
    static constexpr Row<6> r6{};
    static constexpr Row<7> r7{};
    static constexpr Row<8> r8{};
    static constexpr const TileFunction<T>* table[] = {r1.by_groups, r2.by_groups, r3.by_groups, r4.by_groups,
                                                       r5.by_groups, r6.by_groups, r7.by_groups, r8.by_groups};
    const TileFunction<T>* candidates = table[rows - 1];
    taken = groups < kMaxGroups ? static_cast<int>(groups) : kMaxGroups;
    while (candidates[taken - 1] == nullptr) --taken;
    return candidates[taken - 1];
  }
};

// M rows cut into tiles of even height: `tall` rows, or one less from tile `tall_tiles` on.
struct Heights {
  Heights(int64_t M, int most)
      : tiles((M + most - 1) / most),
        tall(static_cast<int>((M + tiles - 1) / tiles)),
        tall_tiles(M - (tall - 1) * tiles) {}
  int rows(int64_t i) const { return i < tall_tiles ? tall : tall - 1; }
  int64_t first(int64_t i) const { return i * tall - (i < tall_tiles ? 0 : i - tall_tiles); }
  int64_t tiles;
  int tall;
  int64_t tall_tiles;
};

// For an epilogue of one gate that writes what is in no near cache: asks for about the place of the next tile; rows of
// results are `pitch` values apart. In vain at the end, where nothing is read.
template <class T>
FUSEDRNN_INLINE void ask_for_next_tile(const T* at, int64_t pitch) {
  __builtin_prefetch(at + TileShape<1>::kRows * pitch, 1);
}

enum class Order { kRising, kFalling };  // in which groups are taken

// Who goes through the same panels again and again turns around every time: it finds the last ones still near.
FUSEDRNN_INLINE Order by_turns(int64_t step) { return step % 2 == 0 ? Order::kRising : Order::kFalling; }

// How a product goes through its panels.
struct Walk {
  FUSEDRNN_INLINE Walk(Order o, int64_t used_columns = INT64_MAX, int64_t all_groups = 0)
      : order(o), columns(used_columns), groups(all_groups) {}
  Order order;
  int64_t columns;  // of use in all groups: a last group of few takes half a vector
  int64_t groups;   // gone through in all, where this product is a part of them
};

// What one tile made: the products of `rows` rows from `row` on with `groups` groups from `group` on.
template <class T>
struct Results {
  int64_t row;
  int rows;
  int64_t group;
  int groups;
  const T* sums;
  int64_t size;  // G * W, of one row and group

  FUSEDRNN_INLINE const T* at(int r, int u) const { return sums + (r * groups + u) * size; }
};

// The epilogue of a product that takes them one by one, as body(row, group, sums).
template <class Body>
FUSEDRNN_INLINE auto one_by_one(Body body) {
  return [body](const auto& results) {
    for (int r = 0; r < results.rows; ++r)
      for (int u = 0; u < results.groups; ++u) body(results.row + r, results.group + u, results.at(r, u));
  };
}

// Calls epilogue(results) for every tile of rows < M and groups in [g0, g1). a[r] points at the K values of a row;
// panels start at group 0.
template <class T, int G, class Epilogue>
FUSEDRNN_INLINE void product(int64_t M, const T* const* a, int64_t K, int64_t run, const T* panels, int64_t g0,
                             int64_t g1, Walk walk, Epilogue&& epilogue) {
  constexpr int W = Vec<T>::kWidth;
  constexpr int kTogether = 24 / TileShape<G>::kRows > 4 ? 24 / TileShape<G>::kRows : 4;  // tiles that share a run
  constexpr int kSums = (kAccumulators > G ? kAccumulators : G) * W;                      // of a tile
  if (M <= 0 || g1 <= g0) return;
  const int64_t pitch = K * G * W;
  const Order order = walk.order;
  const int64_t groups = g1 - g0 > walk.groups ? g1 - g0 : walk.groups;
  const bool far = groups * pitch * static_cast<int64_t>(sizeof(T)) > kSecondCacheBytes;
  const Heights heights(M, TileShape<G>::kRows);
  alignas(64) T sums[kTogether * kSums];
  // A group by itself has to have enough sums to keep the multipliers busy.
  using Last = std::conditional_t<TileShape<G>::kGroups == 1, Half<T>, Vec<T>>;
  const bool half_last = sizeof(Last) < sizeof(Vec<T>) && heights.tall > 2 && g1 * W - walk.columns >= W / 2;
  int widest;
  Tiles<T, G>::pick(heights.tall, g1 - g0, widest);
  for (int64_t done = 0, taken; done < g1 - g0; done += taken) {
    const int64_t left = g1 - g0 - done;
    const bool half = half_last && (order == Order::kRising ? left == 1 : done == 0);
    const int64_t alike = half ? 1 : left - (half_last && order == Order::kRising);
    // Blocks of even width: 13 groups by 4 are 4 3 3 3, not 4 4 4 1.
    const int64_t blocks = (alike + widest - 1) / widest;
    const auto pick = half ? &Tiles<T, G, Last>::pick : &Tiles<T, G>::pick;
    int width, same;  // what fits at full height fits at one row less
    const TileFunction<T> kernel = pick(heights.tall, (alike + blocks - 1) / blocks, width);
    const TileFunction<T> kernel_low = heights.tall > 1 ? pick(heights.tall - 1, width, same) : kernel;
    taken = width;
    const int64_t g = order == Order::kRising ? g0 + done : g1 - done - taken;
    const T* panel = panels + g * pitch;
    // Blocks may differ in width by one: then a little is asked for in vain.
    const T* panel_ahead = taken == left             ? nullptr
                           : order == Order::kRising ? panel + taken * pitch
                                                     : panel - taken * pitch;
    for (int64_t i0 = 0; i0 < heights.tiles; i0 += kTogether) {
      const int64_t i1 = i0 + kTogether < heights.tiles ? i0 + kTogether : heights.tiles;
      int64_t k0 = 0;
      do {  // once even without any term
        const int64_t terms = k0 + run < K ? run : K - k0;
        const T* next = k0 + run < K ? panel + (k0 + run) * G * W : panel_ahead;
        for (int64_t i = i0; i < i1; ++i) {
          T* out = sums + (i - i0) * kSums;
          Ahead<T> ahead;
          if (far && next != nullptr && i < taken * G) ahead = {next + i / G * pitch + i % G * W, G * W};
          (i < heights.tall_tiles ? kernel : kernel_low)(terms, a + heights.first(i), k0, panel + k0 * G * W, pitch,
                                                         k0 > 0, out, ahead);
          if (k0 + run < K) continue;
          epilogue(Results<T>{heights.first(i), heights.rows(i), g, static_cast<int>(taken), out, G * W});
        }
        k0 += run;
      } while (k0 < K);
    }
  }
}

}  // namespace fusedrnn::FUSEDRNN_ISA
