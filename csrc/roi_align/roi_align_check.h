// Argument checks and output allocation shared by the CPU and the CUDA side: same results, same
// text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <vector>

#include "roi_align/roi_align.h"

namespace pyvqa {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

struct RoiOptions {
  int64_t sampling_ratio;
  bool aligned;
};

inline bool is_real(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
         type == ScalarType::Half;
}

inline void check_same_device(const Tensor& t, const Tensor& other, const char* name) {
  STD_TORCH_CHECK(
      t.is_cuda() == other.is_cuda() && t.get_device_index() == other.get_device_index(),
      "roi_align: ", name, " must be on the device of the features");
}

// Whether the channels of a pixel lie side by side, and not only because there is one of them.
inline bool channels_first_in_memory(const Tensor& t) {
  return t.size(1) > 1 && t.stride(1) == 1 && !t.is_contiguous();
}

inline bool all_channels_last(const std::vector<Tensor>& maps) {
  for (const Tensor& map : maps)
    if (!channels_first_in_memory(map)) return false;
  return true;
}

inline void check_maps(const std::vector<Tensor>& maps, const Tensor& first) {
  for (const Tensor& map : maps) {
    STD_TORCH_CHECK(map.dim() == 4, "roi_align: features must be [B, C, H, W], got ", map.dim(),
                    " dimensions");
    STD_TORCH_CHECK(map.scalar_type() == first.scalar_type() && is_real(map.scalar_type()),
                    "roi_align: features must all be float32, float64, bfloat16 or float16, got ",
                    toString(map.scalar_type()));
    STD_TORCH_CHECK(map.size(0) == maps[0].size(0) && map.size(1) == maps[0].size(1),
                    "roi_align: every level must have the same images and channels");
    STD_TORCH_CHECK(map.size(2) <= kMostPixels && map.size(3) <= kMostPixels,
                    "roi_align: features are too large: ", map.size(2), " x ", map.size(3));
    check_same_device(map, first, "every level");
  }
}

inline void check_regions(const Tensor& rois, const std::optional<Tensor>& levels,
                          const Tensor& first) {
  STD_TORCH_CHECK(rois.dim() == 2 && rois.size(1) == 5 && is_real(rois.scalar_type()),
                  "roi_align: rois must be [K, 5] of floating point, got ", rois.dim(),
                  " dimensions of ", toString(rois.scalar_type()));
  check_same_device(rois, first, "rois");
  if (!levels.has_value()) return;
  STD_TORCH_CHECK(levels->dim() == 1 && levels->scalar_type() == ScalarType::Long,
                  "roi_align: levels must be a int64 vector, got ", levels->dim(),
                  " dimensions of ", toString(levels->scalar_type()));
  STD_TORCH_CHECK(levels->size(0) == rois.size(0), "roi_align: ", rois.size(0), " rois, but ",
                  levels->size(0), " levels");
  check_same_device(*levels, first, "levels");
}

inline void check_options(size_t level_count, size_t scale_count, int64_t height, int64_t width,
                          const RoiOptions& options) {
  STD_TORCH_CHECK(level_count >= 1 && level_count <= kMostLevels, "roi_align: 1 to ", kMostLevels,
                  " levels of features are possible, got ", level_count);
  STD_TORCH_CHECK(scale_count == level_count, "roi_align: ", level_count,
                  " levels of features, but ", scale_count, " scales");
  STD_TORCH_CHECK(height >= 0 && width >= 0 && height <= kMostBins && width <= kMostBins,
                  "roi_align: output_size must be 0 to ", kMostBins, " a side, got ", height, " x ",
                  width);
  STD_TORCH_CHECK(options.sampling_ratio <= kMostSamplingRatio,
                  "roi_align: sampling_ratio must be at most ", kMostSamplingRatio, ", got ",
                  options.sampling_ratio);
}

inline void check_count(int64_t rois, int64_t channels, int64_t height, int64_t width) {
  int64_t count = height * width;  // at most 2^24
  const bool fits = !__builtin_mul_overflow(count, channels, &count) &&
                    !__builtin_mul_overflow(count, rois, &count) && count < (int64_t{1} << 60);
  STD_TORCH_CHECK(fits, "roi_align: ", rois, " rois of ", channels, " channels are too many");
}

inline ScalarType coordinate_type(ScalarType type) {
  return type == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Tensor dense_as(const Tensor& t, ScalarType type) {
  const Tensor typed = t.scalar_type() == type ? t : torch::stable::to(t, type);
  return typed.is_contiguous() ? typed : torch::stable::contiguous(typed);
}

inline Tensor empty_maps(const Tensor& like, const std::vector<int64_t>& sizes,
                         bool channels_last) {
  return torch::stable::empty(
      sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

// Tensors in the layouts the kernels read, and the job that points into them.
struct RoiTensors {
  std::vector<Tensor> maps;
  Tensor rois, cells;
  std::optional<Tensor> levels;
  RoiJob job{};

  RoiTensors(const std::vector<Tensor>& level_maps, const Tensor& regions,
             const std::optional<Tensor>& level_of, const std::vector<double>& scales,
             const Tensor& pooled, const RoiOptions& options)
      : maps(level_maps),
        rois(dense_as(regions, coordinate_type(pooled.scalar_type()))),
        cells(pooled) {
    if (level_of.has_value()) levels = dense_as(*level_of, ScalarType::Long);
    for (size_t l = 0; l < maps.size(); ++l) job.levels[l] = level(maps[l], scales[l]);
    job.cells = {cells.data_ptr(), cells.stride(0), cells.stride(1), cells.stride(2),
                 cells.stride(3)};
    job.rois = rois.const_data_ptr();
    job.level_of = levels.has_value() ? levels->const_data_ptr<int64_t>() : nullptr;
    job.roi_count = rois.size(0);
    job.images = maps[0].size(0);
    job.channels = maps[0].size(1);
    job.level_count = static_cast<int32_t>(maps.size());
    job.bins_high = static_cast<int32_t>(cells.size(2));
    job.bins_wide = static_cast<int32_t>(cells.size(3));
    const int64_t ratio = options.sampling_ratio;
    job.sampling_ratio = ratio <= 0 ? 0 : static_cast<int32_t>(ratio);
    job.aligned = options.aligned;
  }

  static RoiLevel level(const Tensor& map, double scale) {
    return {map.data_ptr(),
            map.stride(0),
            map.stride(1),
            map.stride(2),
            map.stride(3),
            scale,
            static_cast<int32_t>(map.size(2)),
            static_cast<int32_t>(map.size(3))};
  }

  bool is_empty() const {
    return job.roi_count == 0 || job.channels == 0 || job.bins_high == 0 || job.bins_wide == 0;
  }
};

// The forward op's checks and its output [K, C, height, width].
inline RoiTensors prepare_pooling(const std::vector<Tensor>& features, const Tensor& rois,
                                  const std::optional<Tensor>& levels,
                                  const std::vector<double>& scales, int64_t height, int64_t width,
                                  const RoiOptions& options) {
  check_options(features.size(), scales.size(), height, width, options);
  check_maps(features, features[0]);
  check_regions(rois, levels, features[0]);
  const int64_t channels = features[0].size(1);
  check_count(rois.size(0), channels, height, width);
  const Tensor pooled =
      empty_maps(features[0], {rois.size(0), channels, height, width}, all_channels_last(features));
  return {features, rois, levels, scales, pooled, options};
}

inline void check_pooled(const std::vector<Tensor>& grads, const Tensor& pooled,
                         const Tensor& rois) {
  STD_TORCH_CHECK(pooled.dim() == 4 && pooled.size(0) == rois.size(0) &&
                      pooled.size(1) == grads[0].size(1) && is_real(pooled.scalar_type()),
                  "roi_align: the gradient of the output must be [K, C, h, w] of floating point "
                  "with the K of the rois and the C of the features, got ",
                  pooled.dim(), " dimensions of ", toString(pooled.scalar_type()));
}

// Whether two indices could lead to one element: adding to it in parallel would be a race.
inline bool overlaps_itself(const Tensor& t) {
  int64_t dims[4] = {0, 1, 2, 3};
  for (int i = 1; i < 4; ++i)
    for (int j = i; j > 0 && t.stride(dims[j]) < t.stride(dims[j - 1]); --j)
      std::swap(dims[j], dims[j - 1]);
  int64_t reach = 0;  // the farthest element of the dimensions looked at
  for (const int64_t d : dims) {
    if (t.size(d) <= 1) continue;
    if (t.stride(d) <= reach) return true;
    reach += t.stride(d) * (t.size(d) - 1);
  }
  return false;
}

inline int64_t bytes_spanned(const Tensor& t) {
  int64_t last = 0;
  for (int64_t d = 0; d < 4; ++d) last += t.stride(d) * (t.size(d) - 1);
  return (last + 1) * static_cast<int64_t>(t.element_size());
}

inline void check_targets(const std::vector<Tensor>& grads) {
  std::vector<std::pair<const char*, const char*>> spans;
  for (const Tensor& grad : grads) {
    if (grad.numel() == 0) continue;
    STD_TORCH_CHECK(!overlaps_itself(grad), "roi_align: a gradient to add to overlaps itself");
    const char* begin = static_cast<const char*>(grad.data_ptr());
    const char* end = begin + bytes_spanned(grad);
    for (const auto& [other_begin, other_end] : spans)
      STD_TORCH_CHECK(end <= other_begin || other_end <= begin,
                      "roi_align: gradients to add to must not share memory");
    spans.emplace_back(begin, end);
  }
}

// The backward op's checks; what it adds to are the job's levels.
inline RoiTensors prepare_gradient(const std::vector<Tensor>& grads, const Tensor& pooled,
                                   const Tensor& rois, const std::optional<Tensor>& levels,
                                   const std::vector<double>& scales, const RoiOptions& options) {
  STD_TORCH_CHECK(!grads.empty() && grads[0].dim() == 4,
                  "roi_align: gradients of the features must be [B, C, H, W]");
  check_regions(rois, levels, grads[0]);
  check_pooled(grads, pooled, rois);
  check_options(grads.size(), scales.size(), pooled.size(2), pooled.size(3), options);
  check_maps(grads, pooled);
  check_targets(grads);
  return {grads, rois, levels, scales, pooled, options};
}

// New gradients, not filled: sizes = B, C and the height and width of each level.
inline std::vector<Tensor> empty_gradients(const Tensor& pooled, const std::vector<int64_t>& sizes,
                                           bool channels_last) {
  const bool whole = sizes.size() >= 4 && sizes.size() % 2 == 0;
  STD_TORCH_CHECK(whole, "roi_align: sizes must be B, C and H, W of each level, got ", sizes.size(),
                  " numbers");
  for (const int64_t size : sizes)
    STD_TORCH_CHECK(size >= 0, "roi_align: sizes must not be negative, got ", size);
  std::vector<Tensor> grads;
  for (size_t i = 2; i < sizes.size(); i += 2)
    grads.push_back(
        empty_maps(pooled, {sizes[0], sizes[1], sizes[i], sizes[i + 1]}, channels_last));
  return grads;
}

}  // namespace
}  // namespace pyvqa
