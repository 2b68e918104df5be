// The CPU kernel's face: masks [begin, end) of a call, one function per instruction set.
#pragma once

#include <cstdint>

namespace pyvqa {

struct PasteCall {
  const float* masks;  // [N, mask_height, mask_width] behind the strides, in elements
  int64_t mask_stride, row_stride, column_stride;
  int32_t mask_height, mask_width;
  const void* boxes;  // [N, 4] x1, y1, x2, y2
  bool double_boxes;  // float64, else float32
  int64_t count;      // N
  int32_t height, width;
  float threshold;
  bool detectron;  // values above the threshold, else those that reach it; no exception for small
  bool packed;     // int64 [N, height, words], else bool [N, height, width]
  void* out;
};

// `scratch` holds paste_scratch(call) floats (paste.h).
#define PV_DECLARE(isa) \
  void paste_rows_##isa(const PasteCall& call, float* scratch, int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
