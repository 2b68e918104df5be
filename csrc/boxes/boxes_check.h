// Argument checks and output allocation shared by the CPU and the CUDA side: same results, same
// text. Inputs are read behind whatever strides they have; nothing is copied.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "boxes/codec_kernel.h"
#include "boxes/iou.h"
#include "boxes/iou_kernel.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

inline std::string shape_text(const Tensor& t) {
  std::string text = "[";
  for (int64_t i = 0; i < t.dim(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(static_cast<long long>(t.size(i)));
  return text + "]";
}

// [batch, rows, columns] or [rows, columns] as rows of numbers.
inline Rows rows_of(const Tensor& t) {
  const bool batched = t.dim() == 3;
  return {t.const_data_ptr(),   batched ? t.size(0) : 1,   t.size(t.dim() - 2),
          t.size(t.dim() - 1),  batched ? t.stride(0) : 0, t.stride(t.dim() - 2),
          t.stride(t.dim() - 1)};
}

inline Number number_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Float: return Number::f32;
    case ScalarType::Double: return Number::f64;
    default: return Number::i64;
  }
}

inline void check_rows(const char* op, const char* name, const Tensor& t, bool integers = false) {
  STD_TORCH_CHECK(t.dim() == 2 || t.dim() == 3, op, ": ", name,
                  " must be [rows, numbers] or [batch, rows, numbers], got ", t.dim(),
                  " dimensions");
  const ScalarType type = t.scalar_type();
  const bool known = type == ScalarType::Float || type == ScalarType::Double ||
                     (integers && type == ScalarType::Long);
  STD_TORCH_CHECK(known, op, ": ", name, " must be float32",
                  integers ? ", float64 or int64" : " or float64", ", got ", toString(type));
}

inline void check_boxes(const char* op, const char* name, const Tensor& t, bool integers = false) {
  check_rows(op, name, t, integers);
  STD_TORCH_CHECK(t.size(t.dim() - 1) == 4, op, ": ", name,
                  " must hold 4 numbers a box, got shape ", shape_text(t));
}

// A pointer to another device's memory would fault inside a kernel, where nothing can be explained.
inline void check_alike(const char* op, const char* name, const Tensor& t, const char* other_name,
                        const Tensor& other) {
  STD_TORCH_CHECK(
      t.is_cuda() == other.is_cuda() && t.get_device_index() == other.get_device_index(), op, ": ",
      name, " must be on the device of ", other_name);
  STD_TORCH_CHECK(t.scalar_type() == other.scalar_type(), op, ": ", name, " are ",
                  toString(t.scalar_type()), ", but ", other_name, " are ",
                  toString(other.scalar_type()));
  STD_TORCH_CHECK(t.dim() == other.dim() && (t.dim() < 3 || t.size(0) == other.size(0)), op, ": ",
                  name, " and ", other_name, " differ in batch: ", shape_text(t), " and ",
                  shape_text(other));
}

// ---- box_iou

inline void check_iou(const Tensor& boxes1, const Tensor& boxes2, int64_t format) {
  check_boxes("box_iou", "boxes1", boxes1, true);
  check_boxes("box_iou", "boxes2", boxes2, true);
  check_alike("box_iou", "boxes2", boxes2, "boxes1", boxes1);
  STD_TORCH_CHECK(format >= 0 && format < kBoxFormats, "box_iou: unknown box format ", format);
  STD_TORCH_CHECK(
      boxes1.scalar_type() != ScalarType::Long || format != static_cast<int64_t>(BoxFormat::cxcywh),
      "box_iou: integer boxes cannot be given by their centres");
  const int64_t batches = boxes1.dim() == 3 ? boxes1.size(0) : 1;
  int64_t rows = 0, pairs = 0;
  const bool overflows = __builtin_mul_overflow(batches, boxes1.size(boxes1.dim() - 2), &rows) ||
                         __builtin_mul_overflow(rows, boxes2.size(boxes2.dim() - 2), &pairs) ||
                         pairs > (int64_t{1} << 59);
  STD_TORCH_CHECK(!overflows, "box_iou: too many pairs: ", shape_text(boxes1), " and ",
                  shape_text(boxes2));
}

// What is left to know about a checked call of box_iou.
struct IouOptions {
  int64_t format;
  bool inclusive, generalized;
};

inline IouCall iou_call(const Tensor& first, const Tensor& second, const IouOptions& options) {
  return {rows_of(first),    rows_of(second),    number_of(first), static_cast<int>(options.format),
          options.inclusive, options.generalized};
}

inline Tensor iou_result(const Tensor& boxes1, const Tensor& boxes2) {
  const int64_t n = boxes1.size(boxes1.dim() - 2), m = boxes2.size(boxes2.dim() - 2);
  const ScalarType type =
      boxes1.scalar_type() == ScalarType::Long ? ScalarType::Float : boxes1.scalar_type();
  if (boxes1.dim() == 2) return torch::stable::new_empty(boxes1, {n, m}, type);
  return torch::stable::new_empty(boxes1, {boxes1.size(0), n, m}, type);
}

inline void check_iou_gradient(const Tensor& gradient, const Tensor& boxes1, const Tensor& boxes2) {
  STD_TORCH_CHECK(boxes1.scalar_type() != ScalarType::Long,
                  "box_iou_backward: integer boxes have no gradient");
  check_alike("box_iou_backward", "grad", gradient, "boxes1", boxes1);
  const int64_t last = gradient.dim() - 1;
  STD_TORCH_CHECK(gradient.size(last - 1) == boxes1.size(last - 1) &&
                      gradient.size(last) == boxes2.size(last - 1),
                  "box_iou_backward: grad is ", shape_text(gradient), " for boxes ",
                  shape_text(boxes1), " and ", shape_text(boxes2));
}

// The gradient as rows of `boxes1` see it, and as rows of `boxes2` do.
inline IouGradient gradient_by_first(const Tensor& gradient) {
  const int64_t last = gradient.dim() - 1;
  return {gradient.const_data_ptr(), last == 2 ? gradient.stride(0) : 0, gradient.stride(last - 1),
          gradient.stride(last)};
}
inline IouGradient gradient_by_second(const Tensor& gradient) {
  const IouGradient g = gradient_by_first(gradient);
  return {g.data, g.batch_stride, g.second_stride, g.first_stride};
}

// ---- encode, decode, clip

struct CodecOptions {
  double wx, wy, ww, wh, clip;
  bool inclusive;
};

inline void check_codec(const char* op, const char* name, const Tensor& boxes,
                        const Tensor& proposals) {
  check_rows(op, name, boxes);
  check_boxes(op, "proposals", proposals);
  check_alike(op, "proposals", proposals, name, boxes);
  STD_TORCH_CHECK(boxes.size(boxes.dim() - 1) % 4 == 0, op, ": ", name,
                  " must hold a multiple of 4 numbers a row, got shape ", shape_text(boxes));
  STD_TORCH_CHECK(boxes.size(boxes.dim() - 2) == proposals.size(boxes.dim() - 2), op, ": ",
                  boxes.size(boxes.dim() - 2), " ", name, ", but ", proposals.size(boxes.dim() - 2),
                  " proposals");
}

inline void check_codec_gradient(const char* op, const Tensor& gradient, const Tensor& boxes) {
  check_rows(op, "grad", gradient);
  check_alike(op, "grad", gradient, "boxes", boxes);
  const int64_t last = boxes.dim() - 1;
  STD_TORCH_CHECK(
      gradient.size(last) == boxes.size(last) && gradient.size(last - 1) == boxes.size(last - 1),
      op, ": grad is ", shape_text(gradient), " for a result of ", shape_text(boxes));
}

inline CodecCall codec_call(const Tensor& boxes, const Tensor& proposals,
                            const CodecOptions& options) {
  CodecCall call{};
  call.boxes = rows_of(boxes);
  call.proposals = rows_of(proposals);
  call.number = number_of(boxes);
  call.wx = options.wx;
  call.wy = options.wy;
  call.ww = options.ww;
  call.wh = options.wh;
  call.clip = options.clip;
  call.inclusive = options.inclusive;
  return call;
}

// A dense result of the same shape.
inline Tensor result_like(const Tensor& t) {
  if (t.dim() == 2) return torch::stable::new_empty(t, {t.size(0), t.size(1)});
  return torch::stable::new_empty(t, {t.size(0), t.size(1), t.size(2)});
}

// Proposals without a single box have no gradient to sum.
inline Tensor gradient_of_proposals(const Tensor& proposals, const Tensor& boxes) {
  Tensor made = result_like(proposals);
  if (boxes.numel() == 0) torch::stable::zero_(made);
  return made;
}

inline void check_clip(const Tensor& boxes, double width, double height) {
  check_rows("clip_boxes", "boxes", boxes);
  STD_TORCH_CHECK(boxes.size(boxes.dim() - 1) % 4 == 0,
                  "clip_boxes: boxes must hold a multiple of 4 numbers a row, got shape ",
                  shape_text(boxes));
  STD_TORCH_CHECK(width >= 0 && height >= 0, "clip_boxes: boxes cannot be clipped to ", width,
                  " x ", height);
}

inline CodecCall clip_call(const Tensor& boxes) {
  CodecCall call{};
  call.boxes = rows_of(boxes);
  call.number = number_of(boxes);
  return call;
}

}  // namespace
}  // namespace pyvqa
