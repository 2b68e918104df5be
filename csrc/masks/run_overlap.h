// Masks combined as run lists, without their pixels. Torch-free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "masks/bits.h"

namespace pyvqa::masks {
namespace {

// The runs of one mask, zeros first.
struct RunView {
  const int32_t* runs = nullptr;
  int64_t count = 0;
};

// Walks along the run list of a mask.
class RunWalk {
 public:
  explicit RunWalk(const RunView& view) : at_(view.runs), end_(view.runs + view.count) { skip(); }

  bool value() const { return value_; }
  bool done() const { return left_ == 0; }
  int64_t left() const { return left_; }  // pixels of the run that are still to come

  void advance(int64_t pixels) {
    left_ -= pixels;
    if (left_ == 0) skip();
  }

 private:
  void skip() {
    while (left_ == 0 && at_ != end_) {
      left_ = *at_++;
      value_ = !value_;
    }
  }

  const int32_t* at_;
  const int32_t* end_;
  int64_t left_ = 0;
  bool value_ = true;  // turned by the first run, which is of zeros
};

// Pixels that are 1 in both.
inline int64_t common_ones(const RunView& a, const RunView& b) {
  int64_t common = 0;
  RunWalk in_a(a), in_b(b);
  while (!in_a.done() && !in_b.done()) {
    const int64_t step = std::min(in_a.left(), in_b.left());
    common += in_a.value() && in_b.value() ? step : 0;
    in_a.advance(step);
    in_b.advance(step);
  }
  return common;
}

// The union or the intersection of two masks of the same size, runs of length 0 taken out.
inline std::vector<int32_t> merge(const RunView& a, const RunView& b, bool intersect) {
  std::vector<int32_t> runs{0};
  bool value = false;
  RunWalk in_a(a), in_b(b);
  while (!in_a.done() && !in_b.done()) {
    const int64_t step = std::min(in_a.left(), in_b.left());
    const bool next = intersect ? in_a.value() && in_b.value() : in_a.value() || in_b.value();
    if (next != value) runs.push_back(0);
    value = next;
    runs.back() += static_cast<int32_t>(step);
    in_a.advance(step);
    in_b.advance(step);
  }
  return runs;
}

// Masks as run lists over columns, with what decides whether two can meet.
struct RunMasks {
  std::vector<RunView> views;
  std::vector<Extent> extents;
};

inline bool boxes_meet(const Extent& a, const Extent& b) {
  return std::max(a.left, b.left) < std::min(a.right, b.right) &&
         std::max(a.top, b.top) < std::min(a.bottom, b.bottom);
}

// Runs that overlap_by_runs would walk along.
inline int64_t runs_to_walk(const RunMasks& a, const RunMasks& b) {
  int64_t runs = 0;
  for (size_t i = 0; i < a.views.size(); ++i) {
    for (size_t j = 0; j < b.views.size(); ++j) {
      if (boxes_meet(a.extents[i], b.extents[j])) runs += a.views[i].count + b.views[j].count;
    }
  }
  return runs;
}

// Overlaps [N, M] as mask_iou gives them; crowd [M] or null.
inline void overlap_by_runs(const RunMasks& a, const RunMasks& b, const uint8_t* crowd, bool iomin,
                            double* out) {
  for (size_t i = 0; i < a.views.size(); ++i) {
    for (size_t j = 0; j < b.views.size(); ++j) {
      const Extent &of_a = a.extents[i], &of_b = b.extents[j];
      const int64_t common = boxes_meet(of_a, of_b) ? common_ones(a.views[i], b.views[j]) : 0;
      *out++ =
          overlap_ratio(common, of_a.area, of_b.area, crowd != nullptr && crowd[j] != 0, iomin);
    }
  }
}

}  // namespace
}  // namespace pyvqa::masks
