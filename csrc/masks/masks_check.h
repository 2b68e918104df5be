// Argument checks and output allocation shared by the CPU and the CUDA side: same results, same
// text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>

#include "masks/bits.h"
#include "masks/masks_kernel.h"
#include "masks/match.h"

namespace pyvqa::masks {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// Kernels count the pixels of a mask in 32 bits.
inline void check_size(const char* op, int64_t height, int64_t width) {
  STD_TORCH_CHECK(height >= 0 && width >= 0, op, ": a mask of ", height, " x ", width,
                  " pixels has a negative size");
  const bool fits = height <= INT32_MAX && width <= INT32_MAX && height * width <= INT32_MAX;
  STD_TORCH_CHECK(fits, op, ": a mask of ", height, " x ", width, " pixels is too large");
}

inline void check_device(const char* op, const Tensor& t, const Tensor& with, const char* name) {
  STD_TORCH_CHECK(t.is_cuda() == with.is_cuda() && t.get_device_index() == with.get_device_index(),
                  op, ": ", name, " must be on the device of the first argument");
}

inline bool is_bytes(const Tensor& t) {
  return t.scalar_type() == ScalarType::Bool || t.scalar_type() == ScalarType::Byte;
}

inline DenseMasks dense_masks(const char* op, const Tensor& masks) {
  STD_TORCH_CHECK(masks.dim() == 3 && is_bytes(masks), op,
                  ": masks must be bool or uint8 [N, H, W]", ", got ", masks.dim(),
                  " dimensions of ", toString(masks.scalar_type()));
  check_size(op, masks.size(1), masks.size(2));
  return {static_cast<const uint8_t*>(masks.const_data_ptr()),
          masks.size(0),
          masks.size(1),
          masks.size(2),
          masks.stride(0),
          masks.stride(1),
          masks.stride(2)};
}

// The same for mask_runs, which is told a width because packed masks do not know theirs.
inline DenseMasks dense_runs_input(const Tensor& masks, int64_t width) {
  const DenseMasks m = dense_masks("mask_runs", masks);
  STD_TORCH_CHECK(m.width == width, "mask_runs: masks are ", m.width, " pixels wide, not ", width);
  return m;
}

// Packed masks; `held` keeps a contiguous copy alive where one is needed.
struct PackedTensor {
  Tensor held;
  BitMasks masks;

  PackedTensor(const char* op, const Tensor& bits, int64_t width) : held(bits) {
    STD_TORCH_CHECK(bits.dim() == 3 && bits.scalar_type() == ScalarType::Long, op,
                    ": packed masks must be int64 [N, H, words], got ", bits.dim(),
                    " dimensions of ", toString(bits.scalar_type()));
    check_size(op, bits.size(1), width);
    STD_TORCH_CHECK(bits.size(2) == words_for(width), op, ": packed masks of ", width,
                    " pixels a row must have ", words_for(width), " words a row, got ",
                    bits.size(2));
    held = dense(bits);
    masks = {static_cast<const uint64_t*>(held.const_data_ptr()), bits.size(0), bits.size(1),
             width};
  }
};

inline Tensor checked_extents(const char* op, const Tensor& extents, const Tensor& bits) {
  STD_TORCH_CHECK(extents.dim() == 2 && extents.size(1) == kExtentFields &&
                      extents.size(0) == bits.size(0) && extents.scalar_type() == ScalarType::Int,
                  op, ": extents must be int32 [", bits.size(0), ", ", kExtentFields, "]");
  check_device(op, extents, bits, "extents");
  return dense(extents);
}

struct PackedOutput {
  Tensor bits, extents;

  PackedOutput(const Tensor& like, int64_t count, int64_t height, int64_t width)
      : bits(torch::stable::new_empty(like, {count, height, words_for(width)}, ScalarType::Long)),
        extents(torch::stable::new_empty(like, {count, kExtentFields}, ScalarType::Int)) {
    if (bits.numel() == 0) torch::stable::zero_(extents);  // there is nothing to pack
  }

  bool empty() const { return bits.numel() == 0; }

  uint64_t* words() const { return static_cast<uint64_t*>(bits.mutable_data_ptr()); }
  int32_t* fields() const { return extents.mutable_data_ptr<int32_t>(); }
};

// Run lists as tensors.
struct RunTensors {
  Tensor runs, offsets;
  RunLists lists;

  RunTensors(const char* op, const Tensor& all_runs, const Tensor& all_offsets, int64_t height,
             int64_t width, bool by_rows)
      : runs(all_runs), offsets(all_offsets) {
    STD_TORCH_CHECK(runs.dim() == 1 && runs.scalar_type() == ScalarType::Int, op,
                    ": runs must be a int32 vector, got ", runs.dim(), " dimensions of ",
                    toString(runs.scalar_type()));
    STD_TORCH_CHECK(
        offsets.dim() == 1 && offsets.scalar_type() == ScalarType::Long && offsets.size(0) >= 1, op,
        ": offsets must be a int64 vector of at least one entry");
    check_device(op, offsets, runs, "offsets");
    check_size(op, height, width);
    runs = dense(runs);
    offsets = dense(offsets);
    lists = {runs.const_data_ptr<int32_t>(),
             offsets.const_data_ptr<int64_t>(),
             runs.size(0),
             offsets.size(0) - 1,
             height,
             width,
             by_rows};
  }
};

// Both sides of mask_iou. The sides may differ in number, not in size.
struct IouTensors {
  PackedTensor a, b;
  Tensor a_extents, b_extents;
  std::optional<Tensor> crowd;
  Tensor out;

  IouTensors(const Tensor& a_bits, const Tensor& of_a, const Tensor& b_bits, const Tensor& of_b,
             int64_t width, const std::optional<Tensor>& iscrowd)
      : a("mask_iou", a_bits, width),
        b("mask_iou", b_bits, width),
        a_extents(checked_extents("mask_iou", of_a, a_bits)),
        b_extents(checked_extents("mask_iou", of_b, b_bits)) {
    STD_TORCH_CHECK(a_bits.size(1) == b_bits.size(1), "mask_iou: masks of ", a_bits.size(1),
                    " rows cannot be compared with masks of ", b_bits.size(1), " rows");
    check_device("mask_iou", b_bits, a_bits, "b");
    if (iscrowd.has_value()) {
      STD_TORCH_CHECK(
          iscrowd->dim() == 1 && is_bytes(*iscrowd) && iscrowd->size(0) == b_bits.size(0),
          "mask_iou: iscrowd must be bool or uint8 [", b_bits.size(0), "]");
      check_device("mask_iou", *iscrowd, a_bits, "iscrowd");
      crowd = dense(*iscrowd);
    }
    out = torch::stable::new_empty(a_bits, {a_bits.size(0), b_bits.size(0)}, ScalarType::Double);
  }

  IouCall call(bool iomin) const {
    IouCall call{};
    call.a = a.masks;
    call.b = b.masks;
    call.a_extents = a_extents.const_data_ptr<int32_t>();
    call.b_extents = b_extents.const_data_ptr<int32_t>();
    call.crowd = crowd ? static_cast<const uint8_t*>(crowd->const_data_ptr()) : nullptr;
    call.iomin = iomin;
    call.out = out.mutable_data_ptr<double>();
    return call;
  }
};

struct NmsTensors {
  PackedTensor masks;
  Tensor extents, order, keep;

  NmsTensors(const Tensor& bits, const Tensor& of_bits, int64_t width, const Tensor& best_first)
      : masks("mask_nms", bits, width),
        extents(checked_extents("mask_nms", of_bits, bits)),
        order(best_first) {
    STD_TORCH_CHECK(order.dim() == 1 && order.scalar_type() == ScalarType::Long,
                    "mask_nms: order must be a int64 vector, got ", order.dim(), " dimensions of ",
                    toString(order.scalar_type()));
    check_device("mask_nms", order, bits, "order");
    order = dense(order);
    keep = torch::stable::new_empty(bits, {order.size(0)}, ScalarType::Long);
  }

  NmsCall call(double iou_threshold, double iomin_threshold) const {
    NmsCall call{};
    call.masks = masks.masks;
    call.extents = extents.const_data_ptr<int32_t>();
    call.order = order.const_data_ptr<int64_t>();
    call.order_count = order.size(0);
    call.iou_threshold = iou_threshold;
    call.iomin_threshold = iomin_threshold;
    call.keep = keep.mutable_data_ptr<int64_t>();
    return call;
  }

  // keep is as long as it can be; the op gives what it holds.
  Tensor kept(int64_t count) const {
    Tensor whole = keep;
    return torch::stable::narrow(whole, 0, 0, count);
  }
};

struct MatchTensors {
  Tensor overlap, matched;
  Overlaps overlaps;
  MatchRule rule;

  MatchTensors(const Tensor& table, double threshold, int64_t rule_number)
      : overlap(table), rule(static_cast<MatchRule>(rule_number)) {
    STD_TORCH_CHECK(table.dim() == 2 && table.scalar_type() == ScalarType::Double,
                    "match_masks: overlap must be float64 [N, M], got ", table.dim(),
                    " dimensions of ", toString(table.scalar_type()));
    STD_TORCH_CHECK(rule_number >= 0 && rule_number <= static_cast<int64_t>(MatchRule::optimal),
                    "match_masks: there is no rule ", rule_number);
    overlap = dense(table);
    matched = torch::stable::new_empty(table, {table.size(0)}, ScalarType::Long);
    overlaps = {overlap.const_data_ptr<double>(), table.size(0), table.size(1), threshold};
  }
};

}  // namespace
}  // namespace pyvqa::masks
