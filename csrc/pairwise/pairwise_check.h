// Argument checks and preparation shared by the CPU and the CUDA side: same results, same text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "pairwise/pairwise.h"
#include "pairwise/pairwise_kernel.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

inline void check_like(const Tensor& t, const Tensor& left, ScalarType type, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == type, "pairwise: ", name, " must be ", toString(type),
                  ", got ", toString(t.scalar_type()));
  STD_TORCH_CHECK(t.is_cuda() == left.is_cuda() && t.get_device_index() == left.get_device_index(),
                  "pairwise: ", name, " must be on the device of left");
}

// Lists of integers as text, for errors.
inline std::string shape_of(const Tensor& t) {
  std::string text = "[";
  for (int64_t d = 0; d < t.dim(); ++d) text += (d > 0 ? ", " : "") + std::to_string(t.size(d));
  return text + "]";
}

inline std::unique_ptr<PairLayout> make_layout(const std::vector<int64_t>& sizes,
                                               const std::vector<int64_t>& ranks,
                                               const std::vector<int64_t>& groups) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  STD_TORCH_CHECK(sizes.size() == ranks.size() && sizes.size() == groups.size(),
                  "pairwise: ", sizes.size(), " sizes, ", ranks.size(), " ranks and ",
                  groups.size(), " groups");
  STD_TORCH_CHECK(!sizes.empty() && sizes.size() <= kMostChunks, "pairwise: 1 to ", kMostChunks,
                  " chunks, got ", sizes.size());
  auto layout = std::make_unique<PairLayout>();
  for (size_t c = 0; c < sizes.size(); ++c) {
    STD_TORCH_CHECK(
        sizes[c] >= 0 && sizes[c] <= kMost && ranks[c] >= 1 && ranks[c] <= kMost && groups[c] >= -1,
        "pairwise: chunk ", c, " has size ", sizes[c], ", rank ", ranks[c], " and group ",
        groups[c]);
    if (c == 0 || groups[c] < 0 || groups[c] != groups[c - 1]) {
      const int32_t first = static_cast<int32_t>(c);
      layout->groups[layout->group_count++] = {first, first, static_cast<int32_t>(layout->features),
                                               0, groups[c] >= 0};
    }
    PairGroup& group = layout->groups[layout->group_count - 1];
    layout->chunks[c] = {static_cast<int32_t>(sizes[c]), static_cast<int32_t>(ranks[c]),
                         static_cast<int32_t>(layout->features),
                         static_cast<int32_t>(layout->factors)};
    layout->features += sizes[c];
    layout->factors += sizes[c] * ranks[c];
    STD_TORCH_CHECK(layout->features <= kMost && layout->factors <= kMost,
                    "pairwise: at most 2147483647 features and factors are supported");
    group.end = static_cast<int32_t>(c) + 1;
    group.features += static_cast<int32_t>(sizes[c]);
  }
  return layout;
}

// The arguments that forward and backward share.
struct PairTensors {
  std::unique_ptr<PairLayout> layout;
  Tensor left, right, weight;
  PairSizes sizes;
  int64_t batch;
  bool wide;  // float64

  PairTensors(const Tensor& all_left, const Tensor& all_right, const Tensor& all_weight,
              const std::vector<int64_t>& chunk_sizes, const std::vector<int64_t>& ranks,
              const std::vector<int64_t>& groups)
      : layout(make_layout(chunk_sizes, ranks, groups)) {
    const ScalarType type = all_left.scalar_type();
    wide = type == ScalarType::Double;
    STD_TORCH_CHECK(wide || type == ScalarType::Float,
                    "pairwise: left must be float32 or float64, got ", toString(type));
    check_like(all_right, all_left, type, "right");
    check_like(all_weight, all_left, type, "weight");
    STD_TORCH_CHECK(all_left.dim() == 3 && all_left.size(2) == layout->factors,
                    "pairwise: left must be [B, N, ", layout->factors, "], got ",
                    shape_of(all_left));
    STD_TORCH_CHECK(shape_of(all_right) == shape_of(all_left), "pairwise: right must be ",
                    shape_of(all_left), " as left, got ", shape_of(all_right));
    STD_TORCH_CHECK(all_weight.dim() == 2 && all_weight.size(1) == layout->features,
                    "pairwise: weight must be [D, ", layout->features, "], got ",
                    shape_of(all_weight));
    STD_TORCH_CHECK(all_left.size(1) <= std::numeric_limits<int32_t>::max(),
                    "pairwise: at most 2147483647 regions are supported, got ", all_left.size(1));
    batch = all_left.size(0);
    sizes = {all_left.size(1), layout->features, layout->factors, all_weight.size(0)};
    left = dense(all_left);
    right = dense(all_right);
    weight = dense(all_weight);
  }
};

struct ForwardTensors : PairTensors {
  std::optional<Tensor> bias, mask;
  Tensor out, argmax;

  ForwardTensors(const Tensor& all_left, const Tensor& all_right, const Tensor& all_weight,
                 const std::optional<Tensor>& all_bias, const std::optional<Tensor>& all_mask,
                 const std::vector<int64_t>& chunk_sizes, const std::vector<int64_t>& ranks,
                 const std::vector<int64_t>& groups, bool bfloat16)
      : PairTensors(all_left, all_right, all_weight, chunk_sizes, ranks, groups) {
    STD_TORCH_CHECK(!bfloat16 || !wide, "pairwise: float64 factors have no bfloat16 product");
    if (all_bias.has_value()) {
      check_like(*all_bias, left, left.scalar_type(), "bias");
      STD_TORCH_CHECK(all_bias->dim() == 1 && all_bias->size(0) == sizes.outputs,
                      "pairwise: bias must be [", sizes.outputs, "], got ", shape_of(*all_bias));
      bias = dense(*all_bias);
    }
    if (all_mask.has_value()) {
      check_like(*all_mask, left, ScalarType::Bool, "mask");
      STD_TORCH_CHECK(
          all_mask->dim() == 2 && all_mask->size(0) == batch && all_mask->size(1) == sizes.regions,
          "pairwise: mask must be [", batch, ", ", sizes.regions, "], got ", shape_of(*all_mask));
      mask = dense(*all_mask);
    }
    out = torch::stable::new_empty(left, {batch, sizes.regions, sizes.outputs});
    argmax = torch::stable::new_empty(left, {batch, sizes.regions, sizes.outputs}, ScalarType::Int);
  }

  bool is_empty() const { return out.numel() == 0; }
};

struct BackwardTensors : PairTensors {
  Tensor grad, argmax;
  Tensor left_grad, right_grad, weight_grad;

  BackwardTensors(const Tensor& all_grad, const Tensor& all_left, const Tensor& all_right,
                  const Tensor& all_weight, const Tensor& all_argmax,
                  const std::vector<int64_t>& chunk_sizes, const std::vector<int64_t>& ranks,
                  const std::vector<int64_t>& groups)
      : PairTensors(all_left, all_right, all_weight, chunk_sizes, ranks, groups) {
    check_like(all_grad, left, left.scalar_type(), "grad");
    check_like(all_argmax, left, ScalarType::Int, "argmax");
    STD_TORCH_CHECK(all_grad.dim() == 3 && all_grad.size(0) == batch &&
                        all_grad.size(1) == sizes.regions && all_grad.size(2) == sizes.outputs &&
                        shape_of(all_argmax) == shape_of(all_grad),
                    "pairwise: grad and argmax must be [", batch, ", ", sizes.regions, ", ",
                    sizes.outputs, "], got ", shape_of(all_grad), " and ", shape_of(all_argmax));
    grad = dense(all_grad);
    argmax = dense(all_argmax);
    left_grad = torch::stable::new_zeros(left, {batch, sizes.regions, sizes.factors});
    right_grad = torch::stable::new_zeros(left, {batch, sizes.regions, sizes.factors});
    weight_grad = torch::stable::new_zeros(left, {sizes.outputs, sizes.features});
  }

  bool is_empty() const { return grad.numel() == 0; }
};

}  // namespace
}  // namespace pyvqa
