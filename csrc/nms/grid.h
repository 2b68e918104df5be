// Kept boxes by size and place, so that a candidate is compared only with those that can overlap it
// enough. Compiled once per instruction set.
//
// Let w and h be the sides as computed (with the pixel that an inclusive rule adds), a = w * h the
// area, t the rule's filter, i and u the computed intersection and union of boxes A and B, and
// e = 2^-24 (float) the error of one operation. Rounding is monotone, so the sides of the
// intersection are at most those of either box, i <= min(a, b), and u >= max(a, b) (1 - 3e). If A
// suppresses B, the rounded i / u is more than t, hence i > t u, and
//   (1) min(a, b) > t (1 - 3e) max(a, b);
//   (2) the intersection's width is more than t (1 - 6e) max(w of A, w of B); so is its height.
// (2) bounds the distance of the centres: half the sum of the widths less the intersection's width,
// which for any width of B that (2) allows is at most w max(1 - t, (1 - t) / 2t), w being A's.
// Boxes are grouped by area, and each group has square cells by centre. A candidate looks at the
// areas of (1) and the centres of (2), both widened by 2^-8: far more than all roundings above and
// those of the cell numbers, for boxes that `locate` accepts. The others are on a list that every
// candidate is compared with, and a candidate of theirs is compared with everything.
// Cells share buckets by a hash: a box from another cell is one comparison too many, no mistake.
#pragma once

#include "nms/rows.h"

namespace pyvqa {
namespace {

struct Bucket {
  uint32_t start, count;
};

// Where a box belongs, in double precision.
struct Spot {
  int size;  // its class of area
  double x, y, width, height;
};

constexpr double kMargin = 1.0 / 256;
constexpr double kLeastFilter = 1.0 / 16;  // less overlap than this makes the cells too wide

template <class T>
bool grid_suits(const Rule<T>& rule) {
  return rule.filter >= T(kLeastFilter) && rule.filter < T(1);
}

inline int64_t floor_of(double value) {
  const int64_t whole = static_cast<int64_t>(value);
  return whole - static_cast<int64_t>(value < static_cast<double>(whole));
}

inline uint32_t exponent_of(double value) {
  union {
    double number;
    uint64_t bits;
  } both = {value};
  return static_cast<uint32_t>(both.bits >> 52);
}

template <class T, bool kInclusive>
class Grid {
 public:
  using Probe = Candidate<T, kInclusive>;

  // For up to `places` boxes; `memory` is for the buckets, `slots` for five numbers a box.
  Grid(const Rule<T>& rule, int64_t places, T* slots, Bucket* memory)
      : places_(places), slots_(slots), buckets_(memory) {
    const double t = static_cast<double>(rule.filter);
    const double reach = larger(1 - t, (1 - t) / (2 * t));
    reach_ = reach * (1 + kMargin) + kMargin;
    least_area_ = t * (1 - kMargin);
    most_area_ = (1 + kMargin) / t;
    // As wide as the reach of the smallest square box of the class, but not far narrower than it.
    double scale = 1 / (kLeastSide * larger(2 * reach, 0.5));
    for (int size = 0; size < kSizes; ++size, scale /= 2) scale_[size] = scale;
    int64_t count = 1;
    while (2 * count <= places / 2 - 2) count *= 2;
    mask_ = static_cast<uint64_t>(count) - 1;
    for (int64_t b = 0; b <= count; ++b) buckets_[b] = {0, 0};
  }

  // False for boxes whose size, shape or place is beyond what the margins cover.
  bool locate(const Box<T>& box, Spot& spot) const {
    constexpr double kLeast = kInclusive ? 1.0 / 64 : 0x1p-20, kMost = 0x1p40;
    constexpr double kLongest = 4096, kFarthest = 0x1p30;
    const T plus = kInclusive ? T(1) : T(0);
    spot.width = static_cast<double>((box.x2 - box.x1) + plus);
    spot.height = static_cast<double>((box.y2 - box.y1) + plus);
    const double small = smaller(spot.width, spot.height), large = larger(spot.width, spot.height);
    if (!(small >= kLeast) || !(large <= kMost) || large > kLongest * small) return false;
    spot.x = (static_cast<double>(box.x1) + static_cast<double>(box.x2)) / 2;
    spot.y = (static_cast<double>(box.y1) + static_cast<double>(box.y2)) / 2;
    spot.size = size_of(spot.width * spot.height);
    const double limit = kFarthest / scale_[spot.size];
    return spot.x >= -limit && spot.x <= limit && spot.y >= -limit && spot.y <= limit;
  }

  // First every box that may come is announced, then room is made, then boxes come.
  void announce(const Spot& spot) { ++bucket_of(spot).start; }

  void make_room() {
    uint32_t start = 0;
    for (uint64_t b = 0; b <= mask_ + 1; ++b) {
      const uint32_t room = buckets_[b].start;
      buckets_[b].start = start;
      start += room;
    }
    others_ = {slots_ + int64_t{5} * start, places_ - start};
  }

  void add(const Spot& spot, const Box<T>& box) {
    Bucket& bucket = bucket_of(spot);
    rows_of(bucket).set(bucket.count++, box);
    occupied_ |= uint64_t{1} << spot.size;
  }
  void add(const Box<T>& box) { others_.set(others_count_++, box); }

  bool suppresses(const Probe& candidate, const Spot& spot) {
    if (among_others(candidate)) return true;
    const double area = spot.width * spot.height;
    const int last = size_of(area * most_area_);
    const double across = spot.width * reach_, along = spot.height * reach_;
    for (int size = size_of(area * least_area_); size <= last; ++size) {
      if ((occupied_ >> size & 1) == 0) continue;
      const double scale = scale_[size];
      const int64_t left = floor_of((spot.x - across) * scale);
      const int64_t right = floor_of((spot.x + across) * scale);
      const int64_t bottom = floor_of((spot.y + along) * scale);
      for (int64_t y = floor_of((spot.y - along) * scale); y <= bottom; ++y) {
        const uint64_t row = row_of(size, y);
        for (int64_t x = left; x <= right; ++x)
          if (in_bucket(candidate, row + static_cast<uint64_t>(x))) return true;
      }
    }
    return false;
  }

  // A box that could not be located, against everything.
  bool suppresses(const Probe& candidate) {
    if (among_others(candidate)) return true;
    for (uint64_t b = 0; b <= mask_; ++b)
      if (in_bucket(candidate, b)) return true;
    return false;
  }

  int64_t comparisons() const { return comparisons_; }

 private:
  static constexpr int kSizes = 64;
  static constexpr uint32_t kFirstExponent = 490;       // half the exponent of the least area
  static constexpr double kLeastSide = 0x1.6a09e6p-22;  // 2^(490 - 511.5)

  int64_t places_;
  T* slots_;
  Bucket* buckets_;
  uint64_t mask_ = 0, occupied_ = 0;
  double reach_ = 0, least_area_ = 0, most_area_ = 0;
  double scale_[kSizes];
  Rows<T> others_{};
  int64_t others_count_ = 0, comparisons_ = 0;

  // Classes are a factor of four of area apart; the ends take what is beyond them.
  static int size_of(double area) {
    const int size = static_cast<int>(exponent_of(area) / 2) - static_cast<int>(kFirstExponent);
    return size < 0 ? 0 : size >= kSizes ? kSizes - 1 : size;
  }

  // Cells beside each other are buckets beside each other.
  static uint64_t row_of(int size, int64_t y) {
    const uint64_t key = static_cast<uint64_t>(y) * 64 + static_cast<uint64_t>(size);
    return (key * 0x9e3779b97f4a7c15u) >> 32;
  }

  Bucket& bucket_of(const Spot& spot) const {
    const double scale = scale_[spot.size];
    const uint64_t row = row_of(spot.size, floor_of(spot.y * scale));
    return buckets_[(row + static_cast<uint64_t>(floor_of(spot.x * scale))) & mask_];
  }

  Rows<T> rows_of(const Bucket& bucket) const {
    return {slots_ + int64_t{5} * bucket.start, int64_t{(&bucket)[1].start} - bucket.start};
  }

  bool in_bucket(const Probe& candidate, uint64_t number) {
    const Bucket& bucket = buckets_[number & mask_];
    if (bucket.count == 0) return false;
    comparisons_ += bucket.count;
    return candidate.is_suppressed(rows_of(bucket), bucket.count);
  }

  bool among_others(const Probe& candidate) {
    comparisons_ += others_count_;
    return candidate.is_suppressed(others_, others_count_);
  }
};

}  // namespace
}  // namespace pyvqa
