// The ops on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream.
#include "boxes/boxes_check.h"
#include "boxes/boxes_cuda.h"
#include "common/cuda_stream.h"

#include <tuple>

namespace pyvqa {
namespace {

Tensor box_iou_cuda(const Tensor& boxes1, const Tensor& boxes2, int64_t format, bool inclusive,
                    bool generalized) {
  check_iou(boxes1, boxes2, format);
  const CudaScope scope(boxes1);
  const Tensor result = iou_result(boxes1, boxes2);
  if (result.numel() == 0) return result;
  const IouCall call = iou_call(boxes1, boxes2, {format, inclusive, generalized});
  check_launch(launch_box_iou(call, result.mutable_data_ptr(), scope.stream()), "box_iou");
  return result;
}

void iou_gradient(const IouCall& call, const IouGradient& gradient, const Tensor& to,
                  cudaStream_t stream) {
  if (to.numel() == 0) return;
  check_launch(launch_box_iou_backward(call, gradient, to.mutable_data_ptr(), stream),
               "box_iou_backward");
}

std::tuple<Tensor, Tensor> box_iou_backward_cuda(const Tensor& grad, const Tensor& boxes1,
                                                 const Tensor& boxes2, int64_t format,
                                                 bool inclusive, bool generalized) {
  check_iou(boxes1, boxes2, format);
  check_iou_gradient(grad, boxes1, boxes2);
  const CudaScope scope(boxes1);
  const IouOptions options{format, inclusive, generalized};
  const Tensor to1 = result_like(boxes1), to2 = result_like(boxes2);
  iou_gradient(iou_call(boxes1, boxes2, options), gradient_by_first(grad), to1, scope.stream());
  iou_gradient(iou_call(boxes2, boxes1, options), gradient_by_second(grad), to2, scope.stream());
  return {to1, to2};
}

Tensor encode_boxes_cuda(const Tensor& boxes, const Tensor& proposals, double wx, double wy,
                         double ww, double wh, bool inclusive) {
  check_boxes("encode_boxes", "boxes", boxes);
  check_codec("encode_boxes", "boxes", boxes, proposals);
  const CudaScope scope(boxes);
  const Tensor result = result_like(boxes);
  if (result.numel() == 0) return result;
  const CodecCall call = codec_call(boxes, proposals, {wx, wy, ww, wh, 0, inclusive});
  check_launch(launch_encode_boxes(call, result.mutable_data_ptr(), scope.stream()),
               "encode_boxes");
  return result;
}

std::tuple<Tensor, Tensor> encode_boxes_backward_cuda(const Tensor& grad, const Tensor& boxes,
                                                      const Tensor& proposals, double wx, double wy,
                                                      double ww, double wh, bool inclusive) {
  check_boxes("encode_boxes_backward", "boxes", boxes);
  check_codec("encode_boxes_backward", "boxes", boxes, proposals);
  check_codec_gradient("encode_boxes_backward", grad, boxes);
  const CudaScope scope(boxes);
  const Tensor to_boxes = result_like(boxes), to_proposals = result_like(proposals);
  if (boxes.numel() == 0) return {to_boxes, to_proposals};
  CodecCall call = codec_call(boxes, proposals, {wx, wy, ww, wh, 0, inclusive});
  call.gradient = rows_of(grad);
  check_launch(launch_encode_boxes_backward(call, to_boxes.mutable_data_ptr(),
                                            to_proposals.mutable_data_ptr(), scope.stream()),
               "encode_boxes_backward");
  return {to_boxes, to_proposals};
}

Tensor decode_boxes_cuda(const Tensor& deltas, const Tensor& proposals, double wx, double wy,
                         double ww, double wh, bool inclusive, double clip) {
  check_codec("decode_boxes", "deltas", deltas, proposals);
  const CudaScope scope(deltas);
  const Tensor result = result_like(deltas);
  if (result.numel() == 0) return result;
  const CodecCall call = codec_call(deltas, proposals, {wx, wy, ww, wh, clip, inclusive});
  check_launch(launch_decode_boxes(call, result.mutable_data_ptr(), scope.stream()),
               "decode_boxes");
  return result;
}

std::tuple<Tensor, Tensor> decode_boxes_backward_cuda(const Tensor& grad, const Tensor& deltas,
                                                      const Tensor& proposals, double wx, double wy,
                                                      double ww, double wh, bool inclusive,
                                                      double clip) {
  check_codec("decode_boxes_backward", "deltas", deltas, proposals);
  check_codec_gradient("decode_boxes_backward", grad, deltas);
  const CudaScope scope(deltas);
  const Tensor to_deltas = result_like(deltas);
  const Tensor to_proposals = gradient_of_proposals(proposals, deltas);
  if (deltas.numel() == 0) return {to_deltas, to_proposals};
  CodecCall call = codec_call(deltas, proposals, {wx, wy, ww, wh, clip, inclusive});
  call.gradient = rows_of(grad);
  check_launch(launch_decode_boxes_backward(call, to_deltas.mutable_data_ptr(),
                                            to_proposals.mutable_data_ptr(), scope.stream()),
               "decode_boxes_backward");
  return {to_deltas, to_proposals};
}

Tensor clip_boxes_cuda(const Tensor& boxes, double width, double height) {
  check_clip(boxes, width, height);
  const CudaScope scope(boxes);
  const Tensor result = result_like(boxes);
  if (result.numel() == 0) return result;
  check_launch(
      launch_clip_boxes(clip_call(boxes), width, height, result.mutable_data_ptr(), scope.stream()),
      "clip_boxes");
  return result;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("box_iou", TORCH_BOX(&pyvqa::box_iou_cuda));
  m.impl("box_iou_backward", TORCH_BOX(&pyvqa::box_iou_backward_cuda));
  m.impl("encode_boxes", TORCH_BOX(&pyvqa::encode_boxes_cuda));
  m.impl("encode_boxes_backward", TORCH_BOX(&pyvqa::encode_boxes_backward_cuda));
  m.impl("decode_boxes", TORCH_BOX(&pyvqa::decode_boxes_cuda));
  m.impl("decode_boxes_backward", TORCH_BOX(&pyvqa::decode_boxes_backward_cuda));
  m.impl("clip_boxes", TORCH_BOX(&pyvqa::clip_boxes_cuda));
}
