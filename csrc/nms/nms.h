// When a box suppresses another, for host and device; no torch, no standard containers.
//
// Every operation is rounded on its own and in the same order everywhere (no fused multiply-add),
// so that all instruction sets and devices decide alike. Everything is in an anonymous namespace
// because this header is compiled once per instruction set (common/isa.h).
#pragma once

#include <cstdint>

#include "common/arithmetic.h"
#include "common/host_device.h"

namespace pyvqa {
namespace {

template <class T>
struct Box {
  T x1, y1, x2, y2, area;
};

// A box suppresses a later one where their overlap exceeds `threshold`, or reaches it if `equal`.
// `filter` is the largest number that never suffices; `plus` is added to sizes (0 or 1 pixel).
template <class T>
struct Rule {
  T threshold, filter, plus;
  bool equal;
};

template <class T>
PV_HD Box<T> read_box(const T* at, T plus) {
  const T width = (at[2] - at[0]) + plus, height = (at[3] - at[1]) + plus;
  return {at[0], at[1], at[2], at[3], times(width, height)};
}

// Whether a rule's filter lets a pair pass. A quotient that rounds to more than the filter is more
// than it, so the intersection is more than their product, and not less than its rounding.
template <class T>
PV_HD bool may_suffice(T intersection, T united, T filter) {
  return !(intersection < times(filter, united)) || !(united > T(0));
}

template <class T>
PV_HD bool suffices(T overlap, const Rule<T>& rule) {
  return rule.equal ? overlap >= rule.threshold : overlap > rule.threshold;
}

template <class T>
PV_HD bool suppresses(const Box<T>& kept, const Box<T>& other, const Rule<T>& rule) {
  const T left = larger(kept.x1, other.x1), top = larger(kept.y1, other.y1);
  const T right = smaller(kept.x2, other.x2), bottom = smaller(kept.y2, other.y2);
  const T width = larger(T(0), (right - left) + rule.plus);
  const T height = larger(T(0), (bottom - top) + rule.plus);
  const T intersection = times(width, height);
  const T united = kept.area + other.area - intersection;
  if (!may_suffice(intersection, united, rule.filter)) return false;
  return suffices(intersection / united, rule);
}

// Boxes that overlap nothing by more than 0: no size on a side, or an area that is no finite
// number. Under a rule that 0 does not satisfy they neither suppress nor are suppressed.
template <class T>
PV_HD bool is_inert(const Box<T>& box, T plus) {
  const T width = (box.x2 - box.x1) + plus, height = (box.y2 - box.y1) + plus;
  return !(width > T(0)) || !(height > T(0)) || !(box.area - box.area == T(0));
}
template <class T>
PV_HD bool spares_inert(const Rule<T>& rule) {
  return rule.filter >= T(0);
}

// Scores as integers in ascending order of rank: NaN first, then from the highest to the lowest;
// equal scores (both zeros among them) give equal keys.
PV_HD uint32_t rank_key(float score) {
  union {
    float value;
    uint32_t bits;
  } number = {score + 0.0f};
  if (score != score) return 0;
  return number.bits >> 31 ? number.bits : ~(number.bits | 0x80000000u);
}
PV_HD uint64_t rank_key(double score) {
  union {
    double value;
    uint64_t bits;
  } number = {score + 0.0};
  if (score != score) return 0;
  return number.bits >> 63 ? number.bits : ~(number.bits | uint64_t{1} << 63);
}

}  // namespace
}  // namespace pyvqa
