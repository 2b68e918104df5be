// Argument checks and preparation shared by the CPU and the CUDA side: same results, same text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "nms/nms.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

// Dense float32 or float64: half types are computed in float32, and every number is in it exactly.
inline Tensor computable(const Tensor& t, const char* name) {
  const ScalarType type = t.scalar_type();
  const bool half = type == ScalarType::Half || type == ScalarType::BFloat16;
  STD_TORCH_CHECK(half || type == ScalarType::Float || type == ScalarType::Double, "nms: ", name,
                  " must be float16, bfloat16, float32 or float64, got ", toString(type));
  const Tensor wide = half ? torch::stable::to(t, ScalarType::Float) : t;
  return wide.is_contiguous() ? wide : torch::stable::contiguous(wide);
}

// A pointer to another device's memory would fault inside a kernel, where nothing can be explained.
inline void check_vector_of(const Tensor& t, const Tensor& boxes, const char* name) {
  STD_TORCH_CHECK(t.dim() == 1 && t.size(0) == boxes.size(0), "nms: ", name, " must be [",
                  boxes.size(0), "], one for each box, got ", t.dim(), " dimensions and ",
                  t.numel(), " elements");
  STD_TORCH_CHECK(
      t.is_cuda() == boxes.is_cuda() && t.get_device_index() == boxes.get_device_index(),
      "nms: ", name, " must be on the device of the boxes");
}

struct NmsTensors {
  Tensor boxes, scores;
  std::optional<Tensor> idxs;
  int64_t count;
  bool wide;  // boxes in float64

  NmsTensors(const Tensor& all_boxes, const Tensor& all_scores,
             const std::optional<Tensor>& groups) {
    STD_TORCH_CHECK(all_boxes.dim() == 2 && all_boxes.size(1) == 4,
                    "nms: boxes must be [N, 4], got ", all_boxes.dim(), " dimensions and ",
                    all_boxes.numel(), " elements");
    count = all_boxes.size(0);
    STD_TORCH_CHECK(count <= std::numeric_limits<int32_t>::max(),
                    "nms: at most 2147483647 boxes are supported, got ", count);
    check_vector_of(all_scores, all_boxes, "scores");
    boxes = computable(all_boxes, "boxes");
    scores = computable(all_scores, "scores");
    wide = boxes.scalar_type() == ScalarType::Double;
    if (!groups.has_value()) return;
    check_vector_of(*groups, all_boxes, "idxs");
    STD_TORCH_CHECK(groups->scalar_type() == ScalarType::Long, "nms: idxs must be int64, got ",
                    toString(groups->scalar_type()));
    idxs = groups->is_contiguous() ? *groups : torch::stable::contiguous(*groups);
  }

  // Calls `f` with a null pointer of the scores' type.
  template <class F>
  void for_score_type(const F& f) const {
    if (scores.scalar_type() == ScalarType::Double) f(static_cast<const double*>(nullptr));
    else f(static_cast<const float*>(nullptr));
  }
};

// The rule in the type of the overlaps: they compare with the rounded threshold as with the exact.
template <class T>
Rule<T> rule_of(double threshold, bool inclusive, bool equal) {
  constexpr T kEnd = std::numeric_limits<T>::infinity();
  T rounded = static_cast<T>(threshold);
  if (equal && static_cast<double>(rounded) < threshold) rounded = std::nextafter(rounded, kEnd);
  if (!equal && static_cast<double>(rounded) > threshold) rounded = std::nextafter(rounded, -kEnd);
  return {rounded, equal ? std::nextafter(rounded, -kEnd) : rounded, inclusive ? T(1) : T(0),
          equal};
}

}  // namespace
}  // namespace pyvqa
