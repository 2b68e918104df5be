#include "boxes/boxes_check.h"
#include "common/isa.h"
#include "common/pages.h"

#include <tuple>

namespace pyvqa {
namespace {

constexpr int64_t kPairs = 32768;  // pairs a thread takes at a time: about 10 us of work
constexpr int64_t kBoxes = 4096;   // and boxes, where each is worked on once

// Runs f(begin, end) over the rows of all batches.
template <class F>
void for_rows(const Rows& rows, int64_t numbers_a_row, int64_t share, F f) {
  const int64_t all = rows.batches * rows.rows;
  if (all == 0) return;
  const int64_t grain = share / (numbers_a_row < 1 ? 1 : numbers_a_row);
  torch::stable::parallel_for(0, all, grain < 1 ? 1 : grain, f);
}

Tensor box_iou_cpu(const Tensor& boxes1, const Tensor& boxes2, int64_t format, bool inclusive,
                   bool generalized) {
  check_iou(boxes1, boxes2, format);
  const Tensor result = iou_result(boxes1, boxes2);
  if (result.numel() == 0) return result;
  const IouCall call = iou_call(boxes1, boxes2, {format, inclusive, generalized});
  void* to = result.mutable_data_ptr();
  will_fill(to, static_cast<size_t>(result.numel()) * result.element_size());
  const auto kernel = PV_DISPATCH(box_iou);
  for_rows(call.first, call.second.rows, kPairs,
           [&](int64_t begin, int64_t end) { kernel(call, to, begin, end); });
  return result;
}

void iou_gradient(const IouCall& call, const IouGradient& gradient, const Tensor& to) {
  void* out = to.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(box_iou_backward);
  for_rows(call.first, call.second.rows, kPairs,
           [&](int64_t begin, int64_t end) { kernel(call, gradient, out, begin, end); });
}

std::tuple<Tensor, Tensor> box_iou_backward_cpu(const Tensor& grad, const Tensor& boxes1,
                                                const Tensor& boxes2, int64_t format,
                                                bool inclusive, bool generalized) {
  check_iou(boxes1, boxes2, format);
  check_iou_gradient(grad, boxes1, boxes2);
  const IouOptions options{format, inclusive, generalized};
  const Tensor to1 = result_like(boxes1), to2 = result_like(boxes2);
  iou_gradient(iou_call(boxes1, boxes2, options), gradient_by_first(grad), to1);
  iou_gradient(iou_call(boxes2, boxes1, options), gradient_by_second(grad), to2);
  return {to1, to2};
}

Tensor encode_boxes_cpu(const Tensor& boxes, const Tensor& proposals, double wx, double wy,
                        double ww, double wh, bool inclusive) {
  check_boxes("encode_boxes", "boxes", boxes);
  check_codec("encode_boxes", "boxes", boxes, proposals);
  const Tensor result = result_like(boxes);
  const CodecCall call = codec_call(boxes, proposals, {wx, wy, ww, wh, 0, inclusive});
  void* to = result.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(encode_boxes);
  for_rows(call.boxes, 1, kBoxes,
           [&](int64_t begin, int64_t end) { kernel(call, to, begin, end); });
  return result;
}

std::tuple<Tensor, Tensor> encode_boxes_backward_cpu(const Tensor& grad, const Tensor& boxes,
                                                     const Tensor& proposals, double wx, double wy,
                                                     double ww, double wh, bool inclusive) {
  check_boxes("encode_boxes_backward", "boxes", boxes);
  check_codec("encode_boxes_backward", "boxes", boxes, proposals);
  check_codec_gradient("encode_boxes_backward", grad, boxes);
  const Tensor to_boxes = result_like(boxes), to_proposals = result_like(proposals);
  CodecCall call = codec_call(boxes, proposals, {wx, wy, ww, wh, 0, inclusive});
  call.gradient = rows_of(grad);
  void *out = to_boxes.mutable_data_ptr(), *out_proposals = to_proposals.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(encode_boxes_backward);
  for_rows(call.boxes, 1, kBoxes,
           [&](int64_t begin, int64_t end) { kernel(call, out, out_proposals, begin, end); });
  return {to_boxes, to_proposals};
}

Tensor decode_boxes_cpu(const Tensor& deltas, const Tensor& proposals, double wx, double wy,
                        double ww, double wh, bool inclusive, double clip) {
  check_codec("decode_boxes", "deltas", deltas, proposals);
  const Tensor result = result_like(deltas);
  const CodecCall call = codec_call(deltas, proposals, {wx, wy, ww, wh, clip, inclusive});
  void* to = result.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(decode_boxes);
  for_rows(call.boxes, call.boxes.columns / 4, kBoxes,
           [&](int64_t begin, int64_t end) { kernel(call, to, begin, end); });
  return result;
}

std::tuple<Tensor, Tensor> decode_boxes_backward_cpu(const Tensor& grad, const Tensor& deltas,
                                                     const Tensor& proposals, double wx, double wy,
                                                     double ww, double wh, bool inclusive,
                                                     double clip) {
  check_codec("decode_boxes_backward", "deltas", deltas, proposals);
  check_codec_gradient("decode_boxes_backward", grad, deltas);
  const Tensor to_deltas = result_like(deltas);
  const Tensor to_proposals = gradient_of_proposals(proposals, deltas);
  if (deltas.numel() == 0) return {to_deltas, to_proposals};
  CodecCall call = codec_call(deltas, proposals, {wx, wy, ww, wh, clip, inclusive});
  call.gradient = rows_of(grad);
  void *out = to_deltas.mutable_data_ptr(), *out_proposals = to_proposals.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(decode_boxes_backward);
  for_rows(call.boxes, call.boxes.columns / 4, kBoxes,
           [&](int64_t begin, int64_t end) { kernel(call, out, out_proposals, begin, end); });
  return {to_deltas, to_proposals};
}

Tensor clip_boxes_cpu(const Tensor& boxes, double width, double height) {
  check_clip(boxes, width, height);
  const Tensor result = result_like(boxes);
  const CodecCall call = clip_call(boxes);
  void* to = result.mutable_data_ptr();
  const auto kernel = PV_DISPATCH(clip_boxes);
  for_rows(call.boxes, call.boxes.columns / 4, kBoxes,
           [&](int64_t begin, int64_t end) { kernel(call, width, height, to, begin, end); });
  return result;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&pyvqa::box_iou_cpu));
  m.impl("box_iou_backward", TORCH_BOX(&pyvqa::box_iou_backward_cpu));
  m.impl("encode_boxes", TORCH_BOX(&pyvqa::encode_boxes_cpu));
  m.impl("encode_boxes_backward", TORCH_BOX(&pyvqa::encode_boxes_backward_cpu));
  m.impl("decode_boxes", TORCH_BOX(&pyvqa::decode_boxes_cpu));
  m.impl("decode_boxes_backward", TORCH_BOX(&pyvqa::decode_boxes_backward_cpu));
  m.impl("clip_boxes", TORCH_BOX(&pyvqa::clip_boxes_cpu));
}
