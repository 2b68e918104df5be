#include "common/isa.h"
#include "common/pages.h"
#include "roi_align/plan.h"
#include "roi_align/windows.h"

namespace pyvqa {
namespace {

constexpr int64_t kPlaneGroup = 512;  // regions planned together where planes are read
constexpr int64_t kPlanes = 4;        // planes that all regions of a group are taken from
constexpr int64_t kPastCacheBytes = int64_t{4} << 20;  // results that do not stay in a cache

// Regions are independent, and so are channels.

template <class A>
class Pooling {
 public:
  Pooling(const RoiJob& job, const Tensor& cells)
      : job_(job),
        storage_(storage_of(cells)),
        element_size_(cells.element_size()),
        past_cache_(cells.numel() * static_cast<int64_t>(element_size_) >= kPastCacheBytes) {}

  // All channels of some regions whose maps and cells have their channels side by side.
  void run_channels(const RegionPlace* places, int64_t count) {
    make_plans(places, count, false);
    for (const RegionPlan& plan : plans_)
      PV_DISPATCH(roi_forward_channels)(resample(plan, 0, job_.channels));
  }

  // Some planes of some regions in any other layout: a few planes at a time of a whole map, so
  // that they are read from memory once for all the regions on it.
  void run_planes(const RegionPlace* places, int64_t count, int64_t begin, int64_t end) {
    make_plans(places, count, active_isa() == Isa::avx512);
    for (int64_t c = begin; c < end; c += kPlanes) {
      const int64_t channels = std::min(kPlanes, end - c);
      for (size_t i = 0; i < plans_.size(); ++i) {
        if (i == 0 || places[i].map != places[i - 1].map) read_ahead(places, i, c, channels);
        PV_DISPATCH(roi_forward_planes)(resample(plans_[i], c, channels));
      }
    }
  }

 private:
  void make_plans(const RegionPlace* places, int64_t count, bool with_lanes) {
    arena_.clear();
    plans_.clear();
    for (int64_t i = 0; i < count; ++i) plans_.push_back(make_plan(places[i].roi, with_lanes));
  }

  RegionPlan make_plan(int64_t roi, bool with_lanes) {
    Region<A> region;
    RegionPlan plan{roi, 0, 0, {}, {}};
    plan.rows.last = -1;
    if (make_region(job_, roi, region)) {
      plan = {roi, region.image, region.level, arena_.pixels_of_bins(region.y),
              arena_.pixels_of_bins(region.x)};
    }
    if (plan.is_empty()) {
      plan.rows = arena_.nothing(job_.bins_high);
      plan.columns = arena_.nothing(job_.bins_wide);
    } else if (with_lanes) {
      arena_.add_lanes(plan.columns, plan.columns.first);
    }
    return plan;
  }

  // Reads planes in the order of memory where the regions from `first` on will read most of them.
  void read_ahead(const RegionPlace* places, size_t first, int64_t channel, int64_t channels) {
    const RoiLevel& level = job_.levels[plans_[first].level];
    int32_t top = INT32_MAX, bottom = -1;
    int64_t pixels = 0;
    for (size_t i = first; i < plans_.size() && places[i].map == places[first].map; ++i) {
      const RegionPlan& plan = plans_[i];
      if (plan.is_empty()) continue;
      top = std::min(top, plan.rows.first);
      bottom = std::max(bottom, plan.rows.last);
      pixels += int64_t{plan.rows.last - plan.rows.first + 1} *
                (plan.columns.last - plan.columns.first + 1);
    }
    const int64_t area = int64_t{bottom - top + 1} * level.width;
    if (bottom < top || level.column != 1 || level.row != level.width || pixels < 2 * area) return;
    for (int64_t c = channel; c < channel + channels; ++c) {
      const auto* at = static_cast<const volatile char*>(
          map_window(level, element_size_, plans_[first].image, c).data);
      at += top * level.row * element_size_;
      for (size_t byte = 0; byte < area * element_size_; byte += 64) (void)at[byte];
    }
  }

  const Resample& resample(const RegionPlan& plan, int64_t channel, int64_t channels) {
    const RoiLevel& level = job_.levels[plan.level];
    rows_ = arena_.table(plan.rows);
    columns_ = arena_.table(plan.columns);
    resample_ = {};
    resample_.to = cell_window(job_.cells, element_size_, plan.roi, channel);
    resample_.rows = &rows_;
    resample_.columns = &columns_;
    resample_.channels = channels;
    resample_.storage = storage_;
    resample_.past_cache = past_cache_;
    if (plan.is_empty()) return resample_;  // reads nothing
    resample_.from = map_window(level, element_size_, plan.image, channel);
    resample_.column_lanes = arena_.lane_table(plan.columns);
    resample_.first_column = plan.columns.first;
    resample_.column_span = plan.columns.last - plan.columns.first + 1;
    if (work_.size() < static_cast<size_t>(resample_.column_span))
      work_.resize(resample_.column_span);
    resample_.work = work_.data();
    return resample_;
  }

  const RoiJob& job_;
  const Storage storage_;
  const size_t element_size_;
  const bool past_cache_;
  PlanArena<A> arena_;
  std::vector<RegionPlan> plans_;
  std::vector<A> work_;
  Table<A> rows_{}, columns_{};
  Resample resample_{};
};

template <class A>
void pool(const RoiTensors& t) {
  const RoiJob& job = t.job;
  std::vector<RegionPlace> order = order_of_work<A>(job);
  const auto planes =
      std::stable_partition(order.begin(), order.end(), [&](const RegionPlace& place) {
        const int64_t level = place.map < 0 ? 0 : place.map / job.images;
        return job.levels[level].channel == 1 && job.cells.channel == 1;
      });
  const RegionPlace* first = order.data();
  const int64_t by_channels = planes - order.begin();
  torch::stable::parallel_for(0, by_channels, kGroup, [&](int64_t begin, int64_t end) {
    Pooling<A> pooling(job, t.cells);
    for (int64_t k = begin; k < end; k += kGroup)
      pooling.run_channels(first + k, std::min(kGroup, end - k));
  });
  const int64_t by_planes = job.roi_count - by_channels;
  const int64_t groups = (by_planes + kPlaneGroup - 1) / kPlaneGroup;
  const int64_t pieces = pieces_for_threads((job.channels + kPlanes - 1) / kPlanes);
  torch::stable::parallel_for(0, groups * pieces, 1, [&](int64_t begin, int64_t end) {
    Pooling<A> pooling(job, t.cells);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t k = task / pieces * kPlaneGroup, piece = task % pieces;
      pooling.run_planes(first + by_channels + k, std::min(kPlaneGroup, by_planes - k),
                         job.channels * piece / pieces, job.channels * (piece + 1) / pieces);
    }
  });
}

Tensor roi_align_cpu(const std::vector<Tensor>& features, const Tensor& rois,
                     const std::optional<Tensor>& levels, const std::vector<double>& scales,
                     int64_t height, int64_t width, int64_t sampling_ratio, bool aligned) {
  const RoiTensors t =
      prepare_pooling(features, rois, levels, scales, height, width, {sampling_ratio, aligned});
  if (t.is_empty()) return t.cells;
  will_fill(t.cells.data_ptr(), t.cells.numel() * t.cells.element_size());
  if (t.cells.scalar_type() == ScalarType::Double) {
    pool<double>(t);
  } else {
    pool<float>(t);
  }
  return t.cells;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) { m.impl("roi_align", TORCH_BOX(&pyvqa::roi_align_cpu)); }
