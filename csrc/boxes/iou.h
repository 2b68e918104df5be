// Overlap of two boxes and its gradient: the maths of box_iou and generalized_box_iou, once.
#pragma once

#include <cstdint>
#include <type_traits>

#include "common/arithmetic.h"

namespace pyvqa {
namespace {

// How the four numbers of a box are meant.
enum class BoxFormat : int { xyxy = 0, xywh, cxcywh };
constexpr int kBoxFormats = 3;

// A box as pairs see it. The area is NaN as soon as a corner is, so that NaN reaches every result.
template <class T>
struct Box {
  T x1, y1, x2, y2, area;
};

// The four numbers of a row that lie `stride` elements apart. `one` is 1 where sides count the
// last pixel (x2 - x1 + 1), else 0.
template <class T>
PV_HD Box<T> load_box(const T* row, int64_t stride, BoxFormat format, T one) {
  const T a = row[0], b = row[stride], c = row[2 * stride], d = row[3 * stride];
  Box<T> box;
  if (format == BoxFormat::xyxy) {
    box = {a, b, c, d, times(plus(minus(c, a), one), plus(minus(d, b), one))};
  } else if (format == BoxFormat::xywh) {
    box = {a, b, plus(a, c), plus(b, d), times(c, d)};
  } else {
    const T x = c / T(2), y = d / T(2);
    box = {minus(a, x), minus(b, y), plus(a, x), plus(b, y), times(c, d)};
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (is_nan(box.x1) || is_nan(box.y1)) box.area = box.x1 + box.y1;
    if (is_nan(box.x2) || is_nan(box.y2)) box.area = box.x2 + box.y2;
  }
  return box;
}

// A type that IoU comes in: float for integer boxes.
template <class T>
using Ratio = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <bool kGeneralized, class T>
PV_HD Ratio<T> overlap(const Box<T>& a, const Box<T>& b, T one) {
  const T w = positive(plus(minus(smaller(a.x2, b.x2), larger(a.x1, b.x1)), one));
  const T h = positive(plus(minus(smaller(a.y2, b.y2), larger(a.y1, b.y1)), one));
  const T both = times(w, h);
  const T either = minus(plus(a.area, b.area), both);
  const Ratio<T> iou = quotient(both, either);
  if constexpr (!kGeneralized) return iou;
  const T hull_w = positive(plus(minus(larger(a.x2, b.x2), smaller(a.x1, b.x1)), one));
  const T hull_h = positive(plus(minus(larger(a.y2, b.y2), smaller(a.y1, b.y1)), one));
  const T hull = times(hull_w, hull_h);
  return iou - quotient(minus(hull, either), hull);
}

// The share of a maximum's gradient that its argument `a` gets; equal arguments get half each.
template <class T>
PV_HD T share_of_larger(T a, T b) {
  return a == b ? T(0.5) : a < b ? T(0) : T(1);
}
template <class T>
PV_HD T share_of_smaller(T a, T b) {
  return share_of_larger(b, a);
}

// Along one axis: what `gradient` of the length of the intersection (of the hull) means for the
// ends of `a`. `length` is the length before it is cut off at 0.
template <bool kHull, class T>
PV_HD void add_length_gradient(T gradient, T length, T a1, T a2, T b1, T b2, T& to1, T& to2) {
  const T flows = length >= T(0) ? gradient : T(0);
  if constexpr (kHull) {
    to1 -= times(flows, share_of_smaller(a1, b1));
    to2 += times(flows, share_of_larger(a2, b2));
  } else {
    to1 -= times(flows, share_of_larger(a1, b1));
    to2 += times(flows, share_of_smaller(a2, b2));
  }
}

// d overlap(a, b) / d a, times `gradient`; the area counts as a variable of its own.
template <bool kGeneralized, class T>
PV_HD Box<T> overlap_gradient(const Box<T>& a, const Box<T>& b, T one, T gradient) {
  const T w = plus(minus(smaller(a.x2, b.x2), larger(a.x1, b.x1)), one);
  const T h = plus(minus(smaller(a.y2, b.y2), larger(a.y1, b.y1)), one);
  const T both = times(positive(w), positive(h));
  const T either = minus(plus(a.area, b.area), both);
  T to_either = times(-gradient, (both / either) / either);
  Box<T> out = {T(0), T(0), T(0), T(0), T(0)};
  if constexpr (kGeneralized) {
    const T hull_w = plus(minus(larger(a.x2, b.x2), smaller(a.x1, b.x1)), one);
    const T hull_h = plus(minus(larger(a.y2, b.y2), smaller(a.y1, b.y1)), one);
    const T hull = times(positive(hull_w), positive(hull_h));
    const T each = gradient / hull;
    to_either += each;
    const T to_hull = times(gradient, (minus(hull, either) / hull) / hull) - each;
    add_length_gradient<true>(times(to_hull, positive(hull_h)), hull_w, a.x1, a.x2, b.x1, b.x2,
                              out.x1, out.x2);
    add_length_gradient<true>(times(to_hull, positive(hull_w)), hull_h, a.y1, a.y2, b.y1, b.y2,
                              out.y1, out.y2);
  }
  const T to_both = gradient / either - to_either;
  add_length_gradient<false>(times(to_both, positive(h)), w, a.x1, a.x2, b.x1, b.x2, out.x1,
                             out.x2);
  add_length_gradient<false>(times(to_both, positive(w)), h, a.y1, a.y2, b.y1, b.y2, out.y1,
                             out.y2);
  out.area = to_either;
  return out;
}

// The gradient of a box's corners and area in terms of its four numbers in `format`.
template <class T>
PV_HD void store_box_gradient(const Box<T>& g, const Box<T>& box, BoxFormat format, T one, T* out) {
  const T w = box.x2 - box.x1, h = box.y2 - box.y1;
  if (format == BoxFormat::xyxy) {
    const T to_w = times(g.area, h + one), to_h = times(g.area, w + one);
    out[0] = g.x1 - to_w;
    out[1] = g.y1 - to_h;
    out[2] = g.x2 + to_w;
    out[3] = g.y2 + to_h;
  } else if (format == BoxFormat::xywh) {
    out[0] = g.x1 + g.x2;
    out[1] = g.y1 + g.y2;
    out[2] = g.x2 + times(g.area, h);
    out[3] = g.y2 + times(g.area, w);
  } else {
    out[0] = g.x1 + g.x2;
    out[1] = g.y1 + g.y2;
    out[2] = times(g.x2 - g.x1, T(0.5)) + times(g.area, h);
    out[3] = times(g.y2 - g.y1, T(0.5)) + times(g.area, w);
  }
}

// Gradients of a box are summed over the other boxes in this many parts, box j in part j % kParts,
// which are then added in halves: an order that vectors, threads and warps can all keep.
constexpr int kParts = 32;

}  // namespace
}  // namespace pyvqa
