// Rows of a table by id, on the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace fusedrnn::cuda {

// T has as many bits as a number of the table, whichever format that is.
template <class T>
struct TakeRows {
  int64_t rows, columns, table_rows;
  const T* table;                     // (table_rows, columns)
  int64_t row_stride, column_stride;  // of the table, in elements
  const int64_t* ids;                 // (rows)
  T* out;                             // (rows, columns): NaN where an id is outside [0, table_rows)
};

template <class T>
void take_rows(const TakeRows<T>& problem, cudaStream_t stream);

}  // namespace fusedrnn::cuda
