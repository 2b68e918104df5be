// Argument checks and output allocation shared by the CPU and the CUDA side: same text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include "paste/paste_kernel.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

constexpr int64_t kPasteSide = int64_t{1} << 24;    // of a mask or canvas
constexpr int64_t kPastePixels = int64_t{1} << 46;  // of all results together

inline void check_paste(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width) {
  STD_TORCH_CHECK(masks.dim() == 3 && masks.scalar_type() == ScalarType::Float,
                  "paste_masks: masks must be float32 [masks, height, width], got ", masks.dim(),
                  " dimensions of ", toString(masks.scalar_type()));
  STD_TORCH_CHECK(boxes.dim() == 2 && boxes.size(1) == 4, "paste_masks: boxes must be [masks, 4]");
  STD_TORCH_CHECK(
      boxes.scalar_type() == ScalarType::Float || boxes.scalar_type() == ScalarType::Double,
      "paste_masks: boxes must be float32 or float64, got ", toString(boxes.scalar_type()));
  STD_TORCH_CHECK(masks.size(0) == boxes.size(0), "paste_masks: ", masks.size(0), " masks, but ",
                  boxes.size(0), " boxes");
  STD_TORCH_CHECK(
      boxes.is_cuda() == masks.is_cuda() && boxes.get_device_index() == masks.get_device_index(),
      "paste_masks: boxes must be on the device of the masks");
  STD_TORCH_CHECK(masks.size(0) == 0 || (masks.size(1) > 0 && masks.size(2) > 0),
                  "paste_masks: masks must have pixels, got ", masks.size(1), " x ", masks.size(2));
  STD_TORCH_CHECK(masks.size(1) < kPasteSide && masks.size(2) < kPasteSide,
                  "paste_masks: masks of ", masks.size(1), " x ", masks.size(2), " are too large");
  STD_TORCH_CHECK(height >= 0 && width >= 0 && height < kPasteSide && width < kPasteSide,
                  "paste_masks: the canvas must be of 0 to ", kPasteSide - 1,
                  " pixels a side, got ", height, " x ", width);
  STD_TORCH_CHECK(height == 0 || width == 0 || masks.size(0) <= kPastePixels / (height * width),
                  "paste_masks: ", masks.size(0), " masks of ", height, " x ", width,
                  " pixels are too many");
}

// The call's tensors, kept while it runs.
struct PasteTensors {
  Tensor masks, boxes, out;
  PasteCall call;

  PasteTensors(const Tensor& given, const Tensor& given_boxes, int64_t height, int64_t width,
               double threshold, bool detectron, bool packed)
      : masks(given),
        boxes(given_boxes.is_contiguous() ? given_boxes : torch::stable::contiguous(given_boxes)) {
    check_paste(given, given_boxes, height, width);
    const int64_t count = masks.size(0);
    out = packed ? torch::stable::new_empty(masks, {count, height, (width + 63) / 64},
                                            ScalarType::Long)
                 : torch::stable::new_empty(masks, {count, height, width}, ScalarType::Bool);
    call.masks = masks.const_data_ptr<float>();
    call.mask_stride = masks.stride(0);
    call.row_stride = masks.stride(1);
    call.column_stride = masks.stride(2);
    call.mask_height = static_cast<int32_t>(masks.size(1));
    call.mask_width = static_cast<int32_t>(masks.size(2));
    call.boxes = boxes.const_data_ptr();
    call.double_boxes = boxes.scalar_type() == ScalarType::Double;
    call.count = count;
    call.height = static_cast<int32_t>(height);
    call.width = static_cast<int32_t>(width);
    call.threshold = static_cast<float>(threshold);
    call.detectron = detectron;
    call.packed = packed;
    call.out = out.mutable_data_ptr();
  }

  bool nothing_to_do() const { return out.numel() == 0; }
};

}  // namespace
}  // namespace pyvqa
