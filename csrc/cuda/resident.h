// A matrix product, step after step, whose weights stay in shared memory.
//
//   sums[q] = sum over k of row(m)[k] * factor(k, j, q)          q < G
//
// A block has some units j with all their gates: columns q * units + u. It takes eight rows in a turn, lets slices.h
// make the sums of slices of depth, and adds the slices in rising order in the thread that goes on with a row and a
// unit. So the order of a sum follows from the plan alone.
//
// Rows come from memory, long ones part by part. In tiers solo and cluster they are held in shared memory instead: what
// a step makes is handed on to all blocks of the group, into the rows of the next step, which lie beside those of now.
#pragma once

#include <cuda_runtime.h>

#include "cuda/cluster.h"
#include "cuda/group.h"
#include "cuda/launch.h"
#include "cuda/slices.h"
#include "cuda/tile.h"

namespace fusedrnn::cuda {

template <class T, class Product>
struct Resident {
  ResidentRoom<Product> room;
  const Product& product;
  const Group& group;
  int64_t depth;
  int units;
  int64_t first_unit, unit_end;
  T* weights;     // as product.place says
  T* rows;        // (rows of a turn, product.pitch), or twice (rows of the group, product.pitch)
  Wide<T>* sums;  // (slices, kRowsAThread, columns)
  bool held;
  int now = 0;  // which of the two copies of the rows this step reads

  // Cuts the shared memory and loads the weights of the block's units; those beyond `all_units` are zeros.
  __device__ Resident(const Factor<T>& factor, int64_t all_units, int64_t depth_, int gates, const Plan& plan,
                      const Group& group_)
      : room(depth_, plan.units * gates, plan),
        product(room.product),
        group(group_),
        depth(depth_),
        units(plan.units),
        first_unit(group_.slice * plan.units),
        unit_end(first_unit + units < all_units ? first_unit + units : all_units),
        weights(&shared_memory<T>()),
        rows(weights + room.weights()),
        sums(reinterpret_cast<Wide<T>*>(reinterpret_cast<char*>(weights) + room.sums_begin())),
        held(plan.hands_on()) {
    const bool along_k = factor.k_stride == 1;  // neighbouring threads read neighbouring numbers
    for (int e = static_cast<int>(threadIdx.x); e < room.weights(); e += kResidentThreads) {
      const int k = along_k ? e % product.depth_padded : e / product.columns;
      const int c = along_k ? e / product.depth_padded : e % product.columns;
      const int64_t q = c / units, j = first_unit + c % units;
      const bool inside = k < depth && q < gates && j < unit_end;
      weights[product.place(k, c)] =
          inside ? Product::stored(factor.data[k * factor.k_stride + j * factor.column_stride + q * factor.gate_stride])
                 : narrow<T>(Wide<T>(0));
    }
  }

  // The rows of the first step, up to before `end`, where they are held; the others are zeros. Blocks meet afterwards.
  template <class RowAt>
  __device__ void begin(int64_t end, const RowAt& row_at) const {
    if (!held) return;
    for (int e = static_cast<int>(threadIdx.x); e < room.rows * product.pitch; e += kResidentThreads) {
      const int64_t m = group.begin + e / product.pitch;
      const int k = e % product.pitch;
      const T* row = m < end && k < depth ? row_at(m) : nullptr;
      rows[e] = row == nullptr ? narrow<T>(Wide<T>(0)) : row[k];
    }
  }

  // What stands at k of row m in the next step, for all blocks of the group.
  __device__ void hand_on(int64_t m, int64_t k, T value) const {
    if (!held) return;
    T* const at = copy_of_rows(1 - now) + (m - group.begin) * product.pitch + k;
    if (group.tier == Tier::kSolo)
      *at = value;
    else
      for (int block = 0; block < group.blocks; ++block) *in_block(at, block) = value;
  }

  __device__ void next_step() { now = 1 - now; }

  // The rows from the group's first to before `end`; see tile.h for row_at and finish. ask(m, j) goes before the
  // product of a row and a unit that finish takes.
  template <int G, class RowAt, class Ask, class Finish>
  __device__ void multiply(int64_t end, const RowAt& row_at, const Ask& ask, const Finish& finish) const {
    for (int64_t m = group.begin; m < end; m += kRowsAThread) {
      const int count = static_cast<int>(end - m < kRowsAThread ? end - m : kRowsAThread);
      for (int e = static_cast<int>(threadIdx.x); e < count * units; e += kResidentThreads)
        if (first_unit + e % units < unit_end) ask(m + e / units, first_unit + e % units);
      typename Product::Sums part{};
      if (held) {
        if (m > group.begin) __syncthreads();
        product.add(weights, copy_of_rows(now) + (m - group.begin) * product.pitch, count, 0, product.depth_padded,
                    part);
      } else {
        add_from_memory(m, count, row_at, part);
      }
      product.store(part, sums);
      __syncthreads();
      for (int e = static_cast<int>(threadIdx.x); e < count * units; e += kResidentThreads) {
        const int r = e / units, u = e % units;
        if (first_unit + u >= unit_end) continue;
        Wide<T> total[G];
        for (int q = 0; q < G; ++q) {
          total[q] = Wide<T>(0);
          for (int slice = 0; slice < product.slices; ++slice)
            total[q] += sums[(slice * kRowsAThread + r) * product.columns + q * units + u];
        }
        finish(m + r, first_unit + u, total);
      }
    }
  }

 private:
  __device__ T* copy_of_rows(int which) const { return rows + which * (room.rows / 2) * product.pitch; }

  template <class RowAt>
  __device__ void add_from_memory(int64_t m, int count, const RowAt& row_at, typename Product::Sums& part) const {
    for (int k = 0; k < product.depth_padded; k += Product::kMostRowNumbers) {
      const int left = product.depth_padded - k,
                numbers = left < product.kMostRowNumbers ? left : product.kMostRowNumbers;
      if (k > 0) __syncthreads();
      load_rows(m, count, k, numbers, row_at);
      __syncthreads();
      product.add(weights, rows, count, k, numbers, part);
    }
  }

  // Numbers [begin, begin + numbers) of each row of the turn, sixteen bytes at a time where all rows allow it.
  template <class RowAt>
  __device__ void load_rows(int64_t m, int count, int begin, int numbers, const RowAt& row_at) const {
    constexpr int kPack = 16 / sizeof(T);
    const T* row[kRowsAThread];
    bool packed = numbers % kPack == 0 && product.pitch % kPack == 0 && begin + numbers <= depth;
#pragma unroll
    for (int r = 0; r < kRowsAThread; ++r) {
      row[r] = r < count ? row_at(m + r) : nullptr;
      packed = packed && reinterpret_cast<uintptr_t>(row[r]) % 16 == 0;
    }
    if (packed)
      copy_rows<uint4>(row, begin / kPack, numbers / kPack, numbers / kPack);
    else
      copy_rows<T>(row, begin, numbers, static_cast<int>(depth - begin < numbers ? depth - begin : numbers));
  }

  // `count` elements of each row from the element `begin` on, of which there are `inside`; zeros for the rest. All of a
  // thread's loads are under way before it waits for the first.
  template <class Element>
  __device__ void copy_rows(const T* const (&row)[kRowsAThread], int begin, int count, int inside) const {
    const int pitch = product.pitch / static_cast<int>(sizeof(Element) / sizeof(T));
    for (int k = static_cast<int>(threadIdx.x); k < count; k += kResidentThreads) {
      Element element[kRowsAThread];
#pragma unroll
      for (int r = 0; r < kRowsAThread; ++r)
        element[r] = row[r] == nullptr || k >= inside ? Element{} : reinterpret_cast<const Element*>(row[r])[begin + k];
#pragma unroll
      for (int r = 0; r < kRowsAThread; ++r) reinterpret_cast<Element*>(rows)[r * pitch + k] = element[r];
    }
  }
};

}  // namespace fusedrnn::cuda
