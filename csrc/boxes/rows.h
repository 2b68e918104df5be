// Rows of four (or 4 C) numbers behind any strides: what the kernels read instead of copies.
#pragma once

#include <cstdint>

namespace pyvqa {

// `batches` times `rows` rows; strides in elements.
struct Rows {
  const void* data;
  int64_t batches, rows, columns;
  int64_t batch_stride, row_stride, column_stride;
};

enum class Number : int { f32 = 0, f64, i64 };

}  // namespace pyvqa
