// Where the pixels of a pasted mask come from: the maths, once for host and device.
//
// The mask gets a border of zeros one pixel wide, its box grows with it about its centre and is
// rounded toward zero to whole pixels, and the mask is stretched over the box by bilinear
// interpolation between pixel centres. Every operation below rounds on its own or is a fused
// multiply-add by name: whether a value reaches the threshold may depend on the last bit.
#pragma once

#include <cstdint>

#include "common/arithmetic.h"
#include "common/host_device.h"
#include "paste/paste_kernel.h"

namespace pyvqa {
namespace {

constexpr int32_t kPasteReach = 1 << 30;  // boxes that reach farther hold no pixel
constexpr int kPasteSmall = 128;          // height + width up to which the weights are multiplied

#if defined(__CUDA_ARCH__)
PV_HD float pv_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
PV_HD float pv_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif

PV_HD int64_t paste_words(const PasteCall& call) { return (int64_t{call.width} + 63) / 64; }

// A bordered row of the mask, in whole vectors.
PV_HD int64_t paste_row_floats(const PasteCall& call) {
  const int64_t floats = (int64_t{call.mask_width} + 2 + 15) / 16 * 16;
  return floats < 32 ? 32 : floats;
}

// Floats of scratch that a thread on the host needs: a bordered row, and for every pixel of a row
// of the canvas two positions, two weights and four values.
PV_HD int64_t paste_scratch(const PasteCall& call) {
  return paste_row_floats(call) + 8 * 64 * paste_words(call);
}

// Along one axis: the first pixel of the box, how many it has, and those on the canvas.
struct PasteSpan {
  int32_t first, size;
  int32_t begin, end;  // begin >= end where nothing is on the canvas
};

struct PasteRegion {
  PasteSpan x, y;

  PV_HD bool empty() const { return x.begin >= x.end || y.begin >= y.end; }
};

// Ends of a box after it has grown by `scale`; false where they are no numbers or far away.
template <class T>
PV_HD bool grow(T low, T high, T scale, int32_t& first, int32_t& last) {
  const T half = times(times(plus(high, -low), T(0.5)), scale);
  const T centre = times(plus(high, low), T(0.5));
  const T begin = plus(centre, -half), end = plus(centre, half);
  const T reach = T(kPasteReach);
  if (!(begin >= -reach && begin <= reach && end >= -reach && end <= reach)) return false;
  first = static_cast<int32_t>(begin);
  last = static_cast<int32_t>(end);
  return true;
}

PV_HD PasteSpan paste_span(int32_t first, int32_t last, int32_t canvas) {
  const int64_t size = int64_t{last} - first + 1;
  // A box of no extent has no pixel; its size is only kept above zero.
  const int32_t begin = first > 0 ? first : 0, end = last + 1 < canvas ? last + 1 : canvas;
  return {first,
          size < 1           ? 1
          : size > INT32_MAX ? INT32_MAX
                             : static_cast<int32_t>(size),
          begin, end};
}

PV_HD double paste_growth(const PasteCall& call) {
  return static_cast<double>(call.mask_width + 2) / static_cast<double>(call.mask_width);
}

// `scale` is what the box grows by.
template <class T>
PV_HD PasteRegion paste_region(const T* box, double scale, int32_t height, int32_t width) {
  int32_t left, right, top, bottom;
  const bool whole = grow(box[0], box[2], static_cast<T>(scale), left, right) &
                     grow(box[1], box[3], static_cast<T>(scale), top, bottom);
  if (!whole) return {};
  return {paste_span(left, right, width), paste_span(top, bottom, height)};
}

PV_HD PasteRegion paste_region(const PasteCall& call, int64_t mask) {
  const double scale = paste_growth(call);
  if (call.double_boxes) {
    const double* box = static_cast<const double*>(call.boxes) + 4 * mask;
    return paste_region(box, scale, call.height, call.width);
  }
  const float* box = static_cast<const float*>(call.boxes) + 4 * mask;
  return paste_region(box, scale, call.height, call.width);
}

// Whether a box is small enough for the four products (see blend_four).
PV_HD bool paste_is_small(const PasteCall& call, const PasteRegion& region) {
  return !call.detectron && int64_t{region.x.size} + region.y.size <= kPasteSmall;
}

// Two neighbours of the bordered mask and their weights.
struct Tap {
  int32_t first, second;
  float first_weight, second_weight;
};

// Of pixel `at` out of `size` that `source` bordered mask pixels are stretched over;
// `scale` = source / size.
PV_HD Tap paste_tap(int32_t at, int32_t size, int32_t source, float scale) {
  float place = pv_fma(scale, plus(static_cast<float>(at), 0.5f), -0.5f);
  place = place > 0.f ? place : 0.f;
  int32_t first = static_cast<int32_t>(place);
  first = first < source - 1 ? first : source - 1;
  float weight = place - static_cast<float>(first);
  weight = weight > 0.f ? weight : 0.f;
  weight = weight < 1.f ? weight : 1.f;
  // Where nothing is stretched the neighbour is left out: it could be infinite.
  const int32_t second = first + static_cast<int32_t>(first < source - 1 && size != source);
  return {first, second, 1.f - weight, weight};
}

PV_HD float paste_scale(int32_t source, int32_t size) {
  return static_cast<float>(source) / static_cast<float>(size);
}

// Two ways to weigh the four neighbours, which differ in the last bit: along x, then y; or by the
// products of the weights, as torch does for small boxes.
PV_HD float blend(float first_weight, float a, float second_weight, float b) {
  return pv_fma(first_weight, a, times(second_weight, b));
}

PV_HD float blend_four(const float (&weights)[4], float a, float b, float c, float d) {
  const float upper = pv_fma(weights[0], a, times(weights[1], b));
  return pv_fma(weights[3], d, pv_fma(weights[2], c, upper));
}

}  // namespace
}  // namespace pyvqa
