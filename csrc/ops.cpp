// The table of contents: every op and its schema. Kernels register in csrc/<op>/.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include "common/isa.h"

namespace pyvqa {
namespace {

std::string isa() { return isa_name(); }

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY(pyvqa, m) {
  m.def("isa() -> str");  // instruction set of the CPU kernels

  // Run B programs [B, L] (ids into table [V]) on packed scenes; width = 64-bit words per object
  // set.
  // -> kind uint8 [B], value int32 [B], answer id int32 [B], sets int64 [B or 0, 2, width]
  m.def(
      "execute(Tensor programs, Tensor table, Tensor scene_index, Tensor words, Tensor offsets, "
      "int width, Tensor string_answers, Tensor integer_answers, bool with_sets) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // The accumulator after every instruction:
  // -> kind uint8 [B], value int32 [B], trace kind uint8 [B, L] (255 = not reached),
  //    trace value int32 [B, L], trace sets int64 [B, L, 2, width]
  m.def(
      "execute_trace(Tensor programs, Tensor table, Tensor scene_index, Tensor words, Tensor "
      "offsets, "
      "int width) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  // Static check of prefix programs: int8 [B], 0 = well formed and typed, else the reason.
  m.def("verify(Tensor programs, Tensor table) -> Tensor");

  // ---- nms
  // The boxes [N, 4] that stay, of each group in idxs [N] alone if it is given: int64 [K].
  m.def(
      "nms(Tensor boxes, Tensor scores, Tensor? idxs, float iou_threshold, bool inclusive, "
      "bool suppress_equal, bool input_order) -> Tensor");
  // The same in a fixed size: int64 [N], filled up with -1, and how many they are: int64 [].
  m.def(
      "nms_padded(Tensor boxes, Tensor scores, Tensor? idxs, float iou_threshold, bool inclusive, "
      "bool suppress_equal, bool input_order) -> (Tensor, Tensor)");
  // ---- boxes
  // Boxes are [N, 4] or [batch, N, 4], float32 or float64 (box_iou: int64 too), behind any strides.
  // Overlap of every pair, [N, 4] and [M, 4] -> [N, M]; format 0 xyxy, 1 xywh, 2 cxcywh; inclusive:
  // sides are x2 - x1 + 1.
  m.def(
      "box_iou(Tensor boxes1, Tensor boxes2, int format, bool inclusive, bool generalized) -> "
      "Tensor");
  m.def(
      "box_iou_backward(Tensor grad, Tensor boxes1, Tensor boxes2, int format, bool inclusive, "
      "bool generalized) -> (Tensor, Tensor)");
  // Offsets of boxes from proposals, [N, 4] and [N, 4] -> [N, 4]; wx .. wh weigh the offsets.
  m.def(
      "encode_boxes(Tensor boxes, Tensor proposals, float wx, float wy, float ww, float wh, "
      "bool inclusive) -> Tensor");
  m.def(
      "encode_boxes_backward(Tensor grad, Tensor boxes, Tensor proposals, float wx, float wy, "
      "float ww, float wh, bool inclusive) -> (Tensor, Tensor)");
  // And back, C boxes for each proposal: [N, 4 C] and [N, 4] -> [N, 4 C]; clip bounds the
  // logarithms of size ratios.
  m.def(
      "decode_boxes(Tensor deltas, Tensor proposals, float wx, float wy, float ww, float wh, "
      "bool inclusive, float clip) -> Tensor");
  m.def(
      "decode_boxes_backward(Tensor grad, Tensor deltas, Tensor proposals, float wx, float wy, "
      "float ww, float wh, bool inclusive, float clip) -> (Tensor, Tensor)");
  // [N, 4 C]: x into [0, width], y into [0, height].
  m.def("clip_boxes(Tensor boxes, float width, float height) -> Tensor");
  // ---- roi_align
  // Pool K regions [K, 5] (image, x1, y1, x2, y2) out of the levels [B, C, H_l, W_l] they name:
  // -> [K, C, height, width]
  m.def(
      "roi_align(Tensor[] features, Tensor rois, Tensor? levels, float[] scales, SymInt height, "
      "SymInt width, int sampling_ratio, bool aligned) -> Tensor");
  // The gradient of the levels; sizes = B, C, then H and W of each level.
  m.def(
      "roi_align_backward(Tensor grad, Tensor rois, Tensor? levels, float[] scales, SymInt[] "
      "sizes, int sampling_ratio, bool aligned, bool channels_last) -> Tensor[]");
  // The same, added to gradients that exist.
  m.def(
      "roi_align_backward_(Tensor(a!)[] grads, Tensor grad, Tensor rois, Tensor? levels, float[] "
      "scales, int sampling_ratio, bool aligned) -> ()");
  // ---- masks
  // Packed masks are int64 [N, H, ceil(W / 64)]; extents are int32 [N, 5]: left, top, right, bottom
  // (exclusive) of the ones and their number.
  m.def("pack_masks(Tensor masks) -> (Tensor, Tensor)");    // bool/uint8 [N, H, W] -> bits, extents
  m.def("unpack_masks(Tensor bits, int width) -> Tensor");  // -> bool [N, H, W]
  m.def("mask_extents(Tensor bits, int width) -> Tensor");
  // Run lengths of dense or packed masks, zeros first, over columns or rows: -> runs int32, offsets
  // int64 [N + 1]; and back to packed masks with extents, or to dense ones.
  m.def("mask_runs(Tensor masks, int width, bool by_rows) -> (Tensor, Tensor)");
  m.def(
      "masks_from_runs(Tensor runs, Tensor offsets, int height, int width, bool by_rows) "
      "-> (Tensor, Tensor)");
  m.def(
      "dense_masks_from_runs(Tensor runs, Tensor offsets, int height, int width, bool by_rows) "
      "-> Tensor");
  // -> float64 [N, M]; iomin: over the smaller area instead of the union.
  m.def(
      "mask_iou(Tensor a, Tensor a_extents, Tensor b, Tensor b_extents, int width, Tensor? "
      "iscrowd, "
      "bool iomin) -> Tensor");
  // order int64: masks, best first -> those of them that no better one suppresses.
  m.def(
      "mask_nms(Tensor bits, Tensor extents, int width, Tensor order, float iou_threshold, float "
      "iomin_threshold) -> Tensor");
  // Pairs rows with columns of float64 [N, M] whose overlap is above the threshold; rule: 0 first,
  // 1 best, 2 greedy, 3 optimal -> int64 [N], -1 where none.
  m.def("match_masks(Tensor overlap, float threshold, int rule) -> Tensor");
  // ---- paste
  // Stretch masks float [N, h, w] over boxes [N, 4] x1, y1, x2, y2 on a canvas and compare with a
  // threshold: bool [N, height, width] or, packed, bits of int64 [N, height, ceil(width / 64)].
  m.def(
      "paste_masks(Tensor masks, Tensor boxes, int height, int width, float threshold, "
      "bool detectron, bool packed) -> Tensor");
  // ---- render
  // Objects [O, 5] (x, y, z, radius, rotation), kinds [O, 2], offsets [B + 1], cameras [B, 3]:
  // the number of the object at each pixel's centre, int16 [B, height, width], -1 = none.
  m.def(
      "render_ids(Tensor geometry, Tensor kinds, Tensor offsets, Tensor cameras, int height, int "
      "width) -> Tensor");
  // Also colors [O, 3], lamps [B, 9] and seeds [B]: picture uint8 [B, height, width, 3], ids as
  // above, depth float32 [B, height, width] and normals float32 [B, height, width, 3].
  m.def(
      "render(Tensor geometry, Tensor kinds, Tensor colors, Tensor offsets, Tensor cameras, Tensor "
      "lamps, Tensor seeds, int height, int width, int samples, float grain) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // The box of each whole object, int64 [O, 4] x, y, width, height.
  m.def(
      "render_boxes(Tensor geometry, Tensor kinds, Tensor offsets, Tensor cameras, int height, int "
      "width) -> Tensor");
  // ---- pairwise
  // Factors [B, N, F] of regions, weight [D, K], bias [D], mask bool [B, N]; chunk c of the K
  // features of a pair has sizes[c] of them, ranks[c] products each, and is normalised together
  // with the chunks of the same number in groups (-1: not at all).
  // -> the largest outputs over the second region of the pairs [B, N, D], and which, int32.
  m.def(
      "pairwise_max(Tensor left, Tensor right, Tensor weight, Tensor? bias, Tensor? mask, int[] "
      "sizes, int[] ranks, int[] groups, bool bfloat16) -> (Tensor, Tensor)");
  // The gradients of left, right and weight.
  m.def(
      "pairwise_max_backward(Tensor grad, Tensor left, Tensor right, Tensor weight, Tensor argmax, "
      "int[] sizes, int[] ranks, int[] groups) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CompositeExplicitAutograd, m) {
  m.impl("isa", TORCH_BOX(&pyvqa::isa));
}
