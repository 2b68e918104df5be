// Polygons of COCO annotations as spans, pixel for pixel as COCO's own tools paint them.
//
// The outline is walked on a grid five times as fine as the pixels. Wherever the walk steps over
// the middle of a pixel column, the column changes between outside and inside from that height
// down; two changes at one place cancel out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <utility>
#include <vector>

#include "coco_eval/spans.h"

namespace pyvqa::coco {

namespace detail {

constexpr int kFine = 5;           // steps of the fine grid per pixel
constexpr double kFarthest = 1e5;  // coordinates beyond it are no pixels, and would walk for ever

class Outline {
 public:
  Outline(int64_t height, int64_t width) : height_(height), width_(width) {}

  void edge(int x0, int y0, int x1, int y1) {
    const int across = std::abs(x1 - x0), down = std::abs(y1 - y0);
    const bool flat = across >= down;
    // Slopes are taken from the end with the smaller coordinate, whichever way the walk goes.
    const bool backwards = flat ? x0 > x1 : y0 > y1;
    if (backwards) {
      std::swap(x0, x1);
      std::swap(y0, y1);
    }
    const int steps = flat ? across : down;
    const double slope =
        flat ? static_cast<double>(y1 - y0) / across : static_cast<double>(x1 - x0) / down;
    for (int step = 0; step <= steps; ++step) {
      const int t = backwards ? steps - step : step;
      if (flat) {
        visit(x0 + t, rounded(y0, slope, t, steps));
      } else {
        visit(rounded(x0, slope, t, steps), y0 + t);
      }
    }
  }

  // The spans between the changes.
  std::vector<Span> spans() {
    std::sort(changes_.begin(), changes_.end());
    if (changes_.size() % 2 == 1) changes_.push_back(static_cast<uint32_t>(height_ * width_));
    std::vector<Span> found;
    for (size_t k = 0; k + 1 < changes_.size(); k += 2) {
      found.push_back({changes_[k], changes_[k + 1]});
    }
    return found;
  }

 private:
  // An edge of no length has no slope.
  static int rounded(int from, double slope, int t, int steps) {
    return static_cast<int>((steps == 0 ? from : from + slope * t) + .5);
  }

  void visit(int x, int y) {
    if (started_ && x != x_) step_over(x < x_ ? x : x - 1, std::min(y, y_));
    x_ = x;
    y_ = y;
    started_ = true;
  }

  void step_over(int fine_x, int fine_y) {
    if (fine_x < 0 || fine_x % kFine != kFine / 2) return;
    const int64_t column = fine_x / kFine;
    if (column >= width_) return;
    const double y = (fine_y + .5) / kFine - .5;
    const double row = std::ceil(std::clamp(y, 0., static_cast<double>(height_)));
    changes_.push_back(static_cast<uint32_t>(column * height_ + static_cast<int64_t>(row)));
  }

  int64_t height_, width_;
  bool started_ = false;
  int x_ = 0, y_ = 0;
  std::vector<uint32_t> changes_;
};

inline int fine(double coordinate) {
  if (!(std::fabs(coordinate) <= kFarthest)) {
    throw std::invalid_argument(
        "a polygon has a coordinate that is no number within a hundred thousand pixels");
  }
  return static_cast<int>(kFine * coordinate + .5);
}

}  // namespace detail

// x0, y0, x1, y1, ...: three points or more. Appends to `spans`.
inline void fill_polygon(const std::vector<double>& points, int64_t height, int64_t width,
                         std::vector<Span>& spans) {
  if (points.size() < 6 || points.size() % 2 == 1) {
    throw std::invalid_argument("a polygon must list x and y of at least three points");
  }
  std::vector<int> x, y;
  for (size_t k = 0; k < points.size(); k += 2) {
    x.push_back(detail::fine(points[k]));
    y.push_back(detail::fine(points[k + 1]));
  }
  detail::Outline outline(height, width);
  for (size_t k = 0; k < x.size(); ++k) {
    const size_t next = k + 1 < x.size() ? k + 1 : 0;
    outline.edge(x[k], y[k], x[next], y[next]);
  }
  const std::vector<Span> found = outline.spans();
  spans.insert(spans.end(), found.begin(), found.end());
}

}  // namespace pyvqa::coco
