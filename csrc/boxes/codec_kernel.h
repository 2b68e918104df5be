// The CPU kernels' face for encoding, decoding and clipping: one function per instruction set.
#pragma once

#include <cstdint>

#include "boxes/rows.h"

namespace pyvqa {

struct CodecCall {
  Rows boxes;      // encode: [4] each; decode: offsets, [4 C] each; clip: boxes, [4 C] each
  Rows proposals;  // [4] each, as many as `boxes`
  Rows gradient;   // backward only: of the result, of its shape
  Number number;
  double wx, wy, ww, wh, clip;
  bool inclusive;
};

// Rows [begin, end) of the batches' rows, counted through; results are dense. The second result of
// the backward functions is the gradient of the proposals.
#define PV_DECLARE(isa)                                                                         \
  void encode_boxes_##isa(const CodecCall& call, void* result, int64_t begin, int64_t end);     \
  void encode_boxes_backward_##isa(const CodecCall& call, void* to_boxes, void* to_proposals,   \
                                   int64_t begin, int64_t end);                                 \
  void decode_boxes_##isa(const CodecCall& call, void* result, int64_t begin, int64_t end);     \
  void decode_boxes_backward_##isa(const CodecCall& call, void* to_offsets, void* to_proposals, \
                                   int64_t begin, int64_t end);                                 \
  void clip_boxes_##isa(const CodecCall& call, double width, double height, void* result,       \
                        int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
