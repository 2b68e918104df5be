// Masks as bits, for host and device; no torch, no standard containers.
//
// The central format is row-major: pixel (y, x) is bit x % 64 of word x / 64 of row y, and bits
// beyond the width are 0. Everything is in an anonymous namespace because this header is compiled
// once per instruction set (common/isa.h).
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace pyvqa::masks {
namespace {

constexpr int64_t kWordBits = 64;

PV_HD int64_t words_for(int64_t bits) { return (bits + kWordBits - 1) / kWordBits; }

PV_HD uint64_t low_bits(int64_t count) {  // of 0 .. 64 bits
  return count >= kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

PV_HD int count_ones(uint64_t word) {
#if defined(__CUDA_ARCH__)
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

PV_HD int lowest_one(uint64_t word) {  // undefined for 0
#if defined(__CUDA_ARCH__)
  return __ffsll(static_cast<long long>(word)) - 1;
#else
  return __builtin_ctzll(word);
#endif
}

PV_HD int highest_one(uint64_t word) {  // undefined for 0
#if defined(__CUDA_ARCH__)
  return 63 - __clzll(static_cast<long long>(word));
#else
  return 63 - __builtin_clzll(word);
#endif
}

PV_HD int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
PV_HD int32_t larger(int32_t a, int32_t b) { return a < b ? b : a; }
PV_HD int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
PV_HD int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

// The smallest box around the ones of a mask, right and bottom exclusive, and their number; all
// zeros if there are none.
struct Extent {
  int32_t left, top, right, bottom, area;
};
constexpr int64_t kExtentFields = 5;

// An extent from outside with its box cut to the image, so that nothing beyond it is ever read.
PV_HD Extent clamped(const int32_t* fields, int64_t height, int64_t width) {
  const int32_t w = static_cast<int32_t>(width), h = static_cast<int32_t>(height);
  return {larger(fields[0], 0), larger(fields[1], 0), smaller(fields[2], w), smaller(fields[3], h),
          fields[4]};
}

// Where two boxes meet: rows top .. bottom - 1, words first .. last - 1; none if it is empty.
struct Meeting {
  int32_t top, bottom, first, last;

  PV_HD bool empty() const { return top >= bottom || first >= last; }
};

PV_HD Meeting meeting(const Extent& a, const Extent& b) {
  const int32_t left = larger(a.left, b.left), right = smaller(a.right, b.right);
  if (left >= right) return {0, 0, 0, 0};
  return {larger(a.top, b.top), smaller(a.bottom, b.bottom), left / 64, (right + 63) / 64};
}

// Intersection over union or, with `iomin`, over the smaller area, as COCO and NS-VQA define them:
// of two empty masks the first is 0, and the second is 1 as soon as one of them is empty. A crowd b
// is measured by the area of a alone.
PV_HD double overlap_ratio(int64_t common, int64_t area_a, int64_t area_b, bool crowd_b,
                           bool iomin) {
  if (iomin) {
    const int64_t least = smaller(area_a, area_b);
    return least == 0 ? 1.0 : static_cast<double>(common) / static_cast<double>(least);
  }
  if (common == 0) return 0.0;
  const int64_t either = crowd_b ? area_a : area_a + area_b - common;
  return static_cast<double>(common) / static_cast<double>(either);
}

}  // namespace
}  // namespace pyvqa::masks
