// A matrix product, step after step, whose weights stay in shared memory.
//
//   sums[q] = sum over k of row(m)[k] * factor(k, j, q)          q < G
//
// A block has some units j with all their gates: columns q * units + u. It takes eight rows in a turn: loads them, long
// ones part by part, lets slices.h make the sums of slices of depth, and adds the slices in rising order in the thread
// that goes on with a row and a unit. So the order of a sum follows from the plan alone.
#pragma once

#include <cuda_runtime.h>

#include "cuda/launch.h"
#include "cuda/slices.h"
#include "cuda/tile.h"

namespace fusedrnn::cuda {

template <class T>
struct Resident {
  Slices<T> slices;
  int64_t depth;
  int units;
  int64_t first_unit, unit_end;
  T* weights;     // as slices.place says
  T* rows;        // (kRowsAThread, slices.pitch)
  Wide<T>* sums;  // (slices, kRowsAThread, slices.columns)

  // Cuts the shared memory and loads the weights of the block's units; those beyond `all_units` are zeros.
  __device__ Resident(const Factor<T>& factor, int64_t all_units, int64_t depth_, int gates, int units_, int64_t slice)
      : slices(depth_, units_ * gates),
        depth(depth_),
        units(units_),
        first_unit(slice * units_),
        unit_end(first_unit + units_ < all_units ? first_unit + units_ : all_units),
        weights(&shared_memory<T>()),
        rows(weights + static_cast<int64_t>(slices.depth_padded) * slices.columns) {
    const size_t numbers = static_cast<size_t>(slices.depth_padded) * slices.columns + kRowsAThread * slices.pitch;
    sums = reinterpret_cast<Wide<T>*>(reinterpret_cast<char*>(weights) + (numbers * sizeof(T) + 15) / 16 * 16);
    const bool along_k = factor.k_stride == 1;  // neighbouring threads read neighbouring numbers
    const int all = slices.depth_padded * slices.columns;
    for (int e = static_cast<int>(threadIdx.x); e < all; e += kGridThreads) {
      const int k = along_k ? e % slices.depth_padded : e / slices.columns;
      const int c = along_k ? e / slices.depth_padded : e % slices.columns;
      const int64_t q = c / units, j = first_unit + c % units;
      const bool inside = k < depth && q < gates && j < unit_end;
      weights[slices.place(k, c)] =
          inside ? factor.data[k * factor.k_stride + j * factor.column_stride + q * factor.gate_stride]
                 : narrow<T>(Wide<T>(0));
    }
  }

  // The rows [begin, end); see tile.h for row_at and finish.
  template <int G, class RowAt, class Finish>
  __device__ void multiply(int64_t begin, int64_t end, const RowAt& row_at, const Finish& finish) const {
    for (int64_t m = begin; m < end; m += kRowsAThread) {
      const int count = static_cast<int>(end - m < kRowsAThread ? end - m : kRowsAThread);
      typename Slices<T>::Sums part{};
      for (int k = 0; k < slices.depth_padded; k += Slices<T>::kMostRowNumbers) {
        const int left = slices.depth_padded - k,
                  numbers = left < slices.kMostRowNumbers ? left : slices.kMostRowNumbers;
        if (k > 0) __syncthreads();
        load_rows(m, count, k, numbers, row_at);
        __syncthreads();
        slices.add(weights, rows, k, numbers, part);
      }
      slices.store(part, sums);
      __syncthreads();
      for (int e = static_cast<int>(threadIdx.x); e < count * units; e += kGridThreads) {
        const int r = e / units, u = e % units;
        if (first_unit + u >= unit_end) continue;
        Wide<T> total[G];
        for (int q = 0; q < G; ++q) {
          total[q] = Wide<T>(0);
          for (int slice = 0; slice < slices.slices; ++slice)
            total[q] += sums[(slice * kRowsAThread + r) * slices.columns + q * units + u];
        }
        finish(m + r, first_unit + u, total);
      }
    }
  }

 private:
  // Numbers [begin, begin + numbers) of each row of the turn, sixteen bytes at a time where all rows allow it.
  template <class RowAt>
  __device__ void load_rows(int64_t m, int count, int begin, int numbers, const RowAt& row_at) const {
    constexpr int kPack = 16 / sizeof(T);
    const T* row[kRowsAThread];
    bool packed = numbers % kPack == 0 && slices.pitch % kPack == 0 && begin + numbers <= depth;
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
    const int pitch = slices.pitch / static_cast<int>(sizeof(Element) / sizeof(T));
    for (int k = static_cast<int>(threadIdx.x); k < count; k += kGridThreads) {
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
