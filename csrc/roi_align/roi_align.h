// Where RoIAlign samples a map: the arithmetic that CPU and CUDA share.
//
// A region is cut into bins, each bin is sampled on a regular grid, each sample is interpolated
// between four pixels. Rows and columns are independent: everything here is about one axis.
// Coordinates are computed in float for maps of 32 bits and less, else in double, in one fixed
// order of operations and without contraction: whether a sample is inside the map does not depend
// on the device.
#pragma once

#include "common/arithmetic.h"
#include "common/host_device.h"

#include <cstdint>

namespace pyvqa {
namespace {

constexpr int kMostLevels = 16;
constexpr int32_t kMostBins = 4096;                // a side of the output
constexpr int32_t kMostSamplingRatio = 1024;       // samples per bin that a caller can ask for
constexpr int32_t kMostSamples = 1 << 22;          // adaptive: a region of 4 million pixels per bin
constexpr int64_t kMostPixels = int64_t{1} << 30;  // a side of a map

template <class A>
PV_HD bool is_finite(A value) {
  return value - value == A(0);
}

// One level of the pyramid; strides in elements.
struct RoiLevel {
  void* data;
  int64_t image, channel, row, column;
  double scale;
  int32_t height, width;
};

// The pooled side: [K, C, bins, bins].
struct RoiCells {
  void* data;
  int64_t roi, channel, row, column;
};

struct RoiJob {
  RoiLevel levels[kMostLevels];
  RoiCells cells;
  const void* rois;         // [K, 5] in the coordinates' type
  const int64_t* level_of;  // [K], or null: all on level 0
  int64_t roi_count, images, channels;
  int32_t level_count, bins_high, bins_wide, sampling_ratio;
  bool aligned;
};

// The samples of one region along one axis: `samples` in each of `bins`, over `pixels`.
template <class A>
struct Axis {
  A start, bin, per_bin;  // per_bin = samples, as a number
  int32_t bins, samples, pixels;
};

template <class A>
struct Region {
  Axis<A> y, x;
  int64_t image;
  int32_t level;
};

template <class A>
PV_HD A sample_at(const Axis<A>& axis, int32_t bin, int32_t sample) {
  const A inside = times(static_cast<A>(sample) + A(0.5), axis.bin) / axis.per_bin;
  return plus(plus(axis.start, times(static_cast<A>(bin), axis.bin)), inside);
}

// The first sample of a bin at `lowest` or beyond: positions rise with the sample, unless the
// region has a negative size, where the search starts at 0.
template <class A>
PV_HD int32_t first_sample(const Axis<A>& axis, int32_t bin, A lowest) {
  if (axis.samples <= 4 || axis.bin < A(0)) return 0;
  int32_t low = 0, high = axis.samples;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (sample_at(axis, bin, middle) < lowest) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The two pixels that a sample inside the map lies between.
template <class A>
struct Tap {
  int32_t low, high;
  A low_weight, high_weight;
};

template <class A>
PV_HD Tap<A> tap_at(A position, int32_t pixels) {
  if (position < A(0)) position = A(0);
  const int32_t low = static_cast<int32_t>(position);
  if (low >= pixels - 1) return {pixels - 1, pixels - 1, A(1), A(0)};
  const A beyond = position - static_cast<A>(low);
  return {low, low + 1, A(1) - beyond, beyond};
}

// Calls f(tap) for the samples of a bin in [lowest, highest], in their order. Samples outside the
// map are not even visited, so a region of any size takes no longer than the map is wide.
template <class A, class F>
PV_HD void for_each_tap(const Axis<A>& axis, int32_t bin, A lowest, A highest, const F& f) {
  for (int32_t i = first_sample(axis, bin, lowest); i < axis.samples; ++i) {
    const A position = sample_at(axis, bin, i);
    if (position > highest && axis.bin >= A(0)) return;
    if (position >= lowest && position <= highest) f(tap_at(position, axis.pixels));
  }
}

template <class A, class F>
PV_HD void for_each_tap(const Axis<A>& axis, int32_t bin, const F& f) {
  if (axis.pixels > 0) for_each_tap(axis, bin, A(-1), static_cast<A>(axis.pixels), f);
}

// The pixels that a region can reach along one axis: positions rise (or, in regions of negative
// size, fall) from the first sample to the last. False if it reaches none.
template <class A>
PV_HD bool reach_of_axis(const Axis<A>& axis, int32_t& low, int32_t& high) {
  if (axis.samples == 0 || axis.pixels == 0) return false;
  A from = sample_at(axis, 0, 0), to = sample_at(axis, axis.bins - 1, axis.samples - 1);
  if (from > to) {
    const A swapped = from;
    from = to;
    to = swapped;
  }
  const A end = static_cast<A>(axis.pixels);
  if (to < A(-1) || from > end) return false;
  low = tap_at(from < A(0) ? A(0) : from, axis.pixels).low;
  high = tap_at(to > end ? end : to, axis.pixels).high;
  return true;
}

// False where a coordinate or the size is no finite number.
template <class A>
PV_HD bool make_axis(A from, A to, A scale, const RoiJob& job, int32_t bins, int32_t pixels,
                     Axis<A>& axis) {
  const A shift = job.aligned ? A(-0.5) : A(0);
  const A start = plus(times(from, scale), shift);
  A size = plus(plus(times(to, scale), shift), -start);
  if (!is_finite(start) || !is_finite(size)) return false;
  if (!job.aligned && size < A(1)) size = A(1);
  const A bin = size / static_cast<A>(bins);
  int32_t samples = job.sampling_ratio;
  if (samples <= 0) {
    const A most = static_cast<A>(kMostSamples);
    samples = bin >= most ? kMostSamples : bin > A(0) ? static_cast<int32_t>(bin) : 0;
    if (static_cast<A>(samples) < bin && samples < kMostSamples) ++samples;  // rounds up
  }
  axis = {start, bin, static_cast<A>(samples), bins, samples, pixels};
  return true;
}

// The region of RoI k; false where it names no image or no level or is not finite: such a region
// pools nothing.
template <class A>
PV_HD bool make_region(const RoiJob& job, int64_t k, Region<A>& region) {
  const A* roi = static_cast<const A*>(job.rois) + 5 * k;
  const int64_t level = job.level_of == nullptr ? 0 : job.level_of[k];
  if (level < 0 || level >= job.level_count) return false;
  if (!(roi[0] > A(-1) && roi[0] < static_cast<A>(job.images))) return false;
  region.image = static_cast<int64_t>(roi[0]);
  if (region.image >= job.images) return false;  // -0.5 of no images
  region.level = static_cast<int32_t>(level);
  const RoiLevel& map = job.levels[level];
  const A scale = static_cast<A>(map.scale);
  return make_axis(roi[2], roi[4], scale, job, job.bins_high, map.height, region.y) &&
         make_axis(roi[1], roi[3], scale, job, job.bins_wide, map.width, region.x);
}

}  // namespace
}  // namespace pyvqa
