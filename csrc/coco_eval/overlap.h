// Intersection over union as COCO defines it: a crowd counts by the detection's own size.
#pragma once

#include <cmath>
#include <cstdint>

#include "coco_eval/spans.h"

namespace pyvqa::coco {

// Two boxes x, y, width, height. NaN coordinates are passed over where the other box has a number,
// and give NaN where they remain; the order of operations is the one the reference rounds in.
inline double box_overlap(const double* detection, const double* truth, bool crowd) {
  const double w = std::fmin(detection[2] + detection[0], truth[2] + truth[0]) -
                   std::fmax(detection[0], truth[0]);
  if (w <= 0) return 0;
  const double h = std::fmin(detection[3] + detection[1], truth[3] + truth[1]) -
                   std::fmax(detection[1], truth[1]);
  if (h <= 0) return 0;
  const double both = w * h, own = detection[2] * detection[3];
  return both / (crowd ? own : own + truth[2] * truth[3] - both);
}

// Two masks: -1 where they belong to pictures of different sizes and their boxes meet.
inline double mask_overlap(const MaskSet& detections, int64_t d, const MaskSet& truths, int64_t t,
                           bool crowd) {
  const Frame &a = detections.frame(d), &b = truths.frame(t);
  if (!(box_overlap(a.box, b.box, crowd) > 0)) return 0;
  if (a.height != b.height || a.width != b.width) return -1;
  const int64_t both =
      shared_pixels(detections.begin(d), detections.end(d), truths.begin(t), truths.end(t));
  if (both == 0) return 0;
  return static_cast<double>(both) / static_cast<double>(crowd ? a.area : a.area + b.area - both);
}

}  // namespace pyvqa::coco
