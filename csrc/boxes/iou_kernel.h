// The CPU kernels' face for IoU: one function per instruction set.
#pragma once

#include <cstdint>

#include "boxes/rows.h"

namespace pyvqa {

struct IouCall {
  Rows first, second;  // equal batches
  Number number;
  int format;  // BoxFormat
  bool inclusive, generalized;
};

// The gradient of the results, [batch, first row, second row] behind any strides.
struct IouGradient {
  const void* data;
  int64_t batch_stride, first_stride, second_stride;
};

// Rows [begin, end) of the batches' rows of `first`, counted through. `box_iou` writes the result,
// one row of `second.rows` numbers after the other; `box_iou_backward` writes the gradient of those
// rows, four numbers each.
#define PV_DECLARE(isa)                                                                   \
  void box_iou_##isa(const IouCall& call, void* result, int64_t begin, int64_t end);      \
  void box_iou_backward_##isa(const IouCall& call, const IouGradient& gradient, void* to, \
                              int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
