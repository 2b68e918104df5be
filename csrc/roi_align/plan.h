// What the CPU kernels are told about a region: for each axis, which pixels go into which bin with
// which weight, pixels that several samples share merged into one entry.
#pragma once

#include <algorithm>
#include <vector>

#include "roi_align/roi_align.h"
#include "roi_align/roi_align_kernel.h"

namespace pyvqa {
namespace {

// A table inside the arena, and the pixels that occur in it: none if last < first.
struct AxisPlan {
  size_t begins, entries;
  int32_t size, first, last;
  size_t lanes = 0;
  int32_t lane_depth = 0;

  bool is_empty() const { return last < first; }
};

struct RegionPlan {
  int64_t roi, image;
  int32_t level;
  AxisPlan rows, columns;

  bool is_empty() const { return rows.is_empty() || columns.is_empty(); }
};

// Tables of some regions; clearing keeps the memory.
template <class A>
class PlanArena {
 public:
  void clear() {
    begins_.clear();
    entries_.clear();
    lanes_.clear();
  }

  Table<A> table(const AxisPlan& plan) const {
    return {begins_.data() + plan.begins, entries_.data() + plan.entries, plan.size};
  }

  LaneTable lane_table(const AxisPlan& plan) const {
    if (plan.lane_depth == 0) return {};
    return {lanes_.data() + plan.lanes, (plan.size + 15) / 16, plan.lane_depth};
  }

  // For each bin the pixels it is the mean of.
  AxisPlan pixels_of_bins(const Axis<A>& axis) {
    AxisPlan plan{begins_.size(), entries_.size(), axis.bins, INT32_MAX, -1};
    const A share = A(1) / axis.per_bin;
    begins_.push_back(0);
    for (int32_t bin = 0; bin < axis.bins; ++bin) {
      const size_t first = entries_.size();
      for_each_tap(axis, bin, [&](const Tap<A>& tap) {
        add(first, tap.low, tap.low_weight);
        add(first, tap.high, tap.high_weight);
      });
      for (size_t e = first; e < entries_.size(); ++e) {
        entries_[e].weight *= share;
        plan.first = std::min(plan.first, entries_[e].index);
        plan.last = std::max(plan.last, entries_[e].index);
      }
      begins_.push_back(static_cast<int32_t>(entries_.size() - plan.entries));
    }
    return plan;
  }

  // The same turned round: for each pixel from plan.first to plan.last the bins it is part of.
  AxisPlan bins_of_pixels(const Axis<A>& axis) {
    AxisPlan plan = pixels_of_bins(axis);
    spare_.assign(entries_.begin() + plan.entries, entries_.end());
    spare_begins_.assign(begins_.begin() + plan.begins, begins_.end());
    plan.size = plan.is_empty() ? 0 : plan.last - plan.first + 1;
    begins_.resize(plan.begins);
    begins_.resize(plan.begins + plan.size + 2, 0);
    int32_t* begins = begins_.data() + plan.begins;
    for (const Entry<A>& entry : spare_) ++begins[entry.index - plan.first + 2];
    for (int32_t i = 1; i <= plan.size; ++i) begins[i + 1] += begins[i];
    Entry<A>* entries = entries_.data() + plan.entries;
    for (int32_t bin = 0; bin < axis.bins; ++bin)
      for (int32_t e = spare_begins_[bin]; e < spare_begins_[bin + 1]; ++e)
        entries[begins[spare_[e].index - plan.first + 1]++] = {spare_[e].weight, bin};
    return plan;
  }

  // A table without entries for `size` bins.
  AxisPlan nothing(int32_t size) {
    const AxisPlan plan{begins_.size(), entries_.size(), size, INT32_MAX, -1};
    begins_.resize(begins_.size() + size + 1, 0);
    return plan;
  }

  // Makes the lanes of a table, if it is one that lanes suit.
  void add_lanes(AxisPlan& plan, int32_t first) {
    const Table<A> t = table(plan);
    int32_t depth = 0;
    for (int32_t i = 0; i < t.size; ++i) depth = std::max(depth, t.begin[i + 1] - t.begin[i]);
    if (depth > kMostDepth || t.size > kMostPlaces) return;
    plan.lanes = lanes_.size();
    plan.lane_depth = depth;
    lanes_.resize(lanes_.size() + (t.size + 15) / 16 * depth);
    for (int32_t i = 0; i < t.size; ++i) {
      for (int32_t e = t.begin[i]; e < t.begin[i + 1]; ++e) {
        Lanes& lanes = lanes_[plan.lanes + i / 16 * depth + e - t.begin[i]];
        lanes.index[i % 16] = t.entries[e].index - first;
        lanes.weight[i % 16] = static_cast<float>(t.entries[e].weight);
        lanes.present |= 1u << i % 16;
      }
    }
  }

 private:
  static constexpr int32_t kMostDepth = 8, kMostPlaces = 64;

  // Neighbouring samples share pixels; going back three entries finds them in either direction.
  void add(size_t first, int32_t pixel, A weight) {
    const size_t end = entries_.size(), oldest = end > first + 3 ? end - 3 : first;
    for (size_t e = end; e > oldest; --e) {
      if (entries_[e - 1].index != pixel) continue;
      entries_[e - 1].weight += weight;
      return;
    }
    entries_.push_back({weight, pixel});
  }

  std::vector<int32_t> begins_, spare_begins_;
  std::vector<Entry<A>> entries_, spare_;
  std::vector<Lanes> lanes_;
};

// A region's place in the order of work: by map (level and image), then by where it lies, so that
// neighbours in the order read the same pixels. The order depends on the rois alone.
struct RegionPlace {
  int64_t map, roi;
  uint32_t place;

  bool operator<(const RegionPlace& other) const {
    if (map != other.map) return map < other.map;
    return place != other.place ? place < other.place : roi < other.roi;
  }
};

template <class A>
uint32_t tile_of(const Axis<A>& axis) {
  const A middle = axis.start + axis.bin * static_cast<A>(axis.bins) / 2;
  return middle > 0 ? static_cast<uint32_t>(std::min(middle / 32, A(65535))) : 0;
}

// The low 16 bits spread to every second bit: two of them make a place on a Z-shaped curve.
inline uint32_t interleaved(uint32_t x) {
  x = (x | x << 8) & 0x00ff00ffu;
  x = (x | x << 4) & 0x0f0f0f0fu;
  x = (x | x << 2) & 0x33333333u;
  return (x | x << 1) & 0x55555555u;
}

// All regions in the order of work; those that pool nothing come first, on map -1.
template <class A>
std::vector<RegionPlace> order_of_work(const RoiJob& job) {
  std::vector<RegionPlace> order(job.roi_count);
  for (int64_t k = 0; k < job.roi_count; ++k) {
    Region<A> region;
    order[k] = {-1, k, 0};
    if (!make_region(job, k, region)) continue;
    order[k].map = region.level * job.images + region.image;
    order[k].place = interleaved(tile_of(region.y)) << 1 | interleaved(tile_of(region.x));
  }
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace
}  // namespace pyvqa
