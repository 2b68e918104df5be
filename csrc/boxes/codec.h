// Boxes as offsets from other boxes, and back: the maths of encode_boxes, decode_boxes and
// clip_boxes with their gradients, once.
#pragma once

#include <cstdint>

#include "boxes/exponential.h"

namespace pyvqa {
namespace {

// Weights of the four offsets; `one` is 1 where sides count the last pixel, else 0; `clip` bounds
// the logarithms of size ratios before they are raised.
template <class T>
struct Codec {
  T wx, wy, ww, wh, one, clip;
};

template <class T>
struct Four {
  T a, b, c, d;
};

// A side of a box: its length and its centre.
template <class T>
struct Side {
  T length, centre;
};

template <class T>
PV_HD Side<T> side_of(T low, T high, T one) {
  const T length = plus(minus(high, low), one);
  return {length, plus(low, times(T(0.5), length))};
}

// One axis of an encoded box: offset of the centre, logarithm of the size ratio.
template <class T>
struct Offset {
  T shift, growth;
};

template <class T>
PV_HD Offset<T> encode_axis(const Side<T>& box, const Side<T>& from, T shift_weight,
                            T growth_weight) {
  return {times(shift_weight, minus(box.centre, from.centre)) / from.length,
          times(growth_weight, logarithm(box.length / from.length))};
}

template <class T>
PV_HD Four<T> encode_box(const Four<T>& box, const Four<T>& from, const Codec<T>& codec) {
  const Offset<T> x = encode_axis(side_of(box.a, box.c, codec.one),
                                  side_of(from.a, from.c, codec.one), codec.wx, codec.ww);
  const Offset<T> y = encode_axis(side_of(box.b, box.d, codec.one),
                                  side_of(from.b, from.d, codec.one), codec.wy, codec.wh);
  return {x.shift, y.shift, x.growth, y.growth};
}

// Gradients of the ends of an axis of two boxes.
template <class T>
struct Ends {
  T low, high;
};

// `centre` and `length` as functions of the ends: centre = low + length / 2.
template <class T>
PV_HD Ends<T> to_ends(T to_centre, T to_length) {
  const T high = plus(to_length, times(T(0.5), to_centre));
  return {minus(to_centre, high), high};
}

template <class T>
PV_HD void encode_axis_gradient(const Side<T>& box, const Side<T>& from, T shift_weight,
                                T growth_weight, const Offset<T>& gradient, Ends<T>& to_box,
                                Ends<T>& to_from) {
  const T each = times(gradient.shift, shift_weight) / from.length;
  const T growth = times(gradient.growth, growth_weight);
  to_box = to_ends(each, growth / box.length);
  const T moved = minus(box.centre, from.centre) / from.length;
  to_from = to_ends(-each, -plus(times(each, moved), growth / from.length));
}

template <class T>
PV_HD void encode_box_gradient(const Four<T>& box, const Four<T>& from, const Codec<T>& codec,
                               const Four<T>& gradient, Four<T>& to_box, Four<T>& to_from) {
  Ends<T> box_x, box_y, from_x, from_y;
  encode_axis_gradient(side_of(box.a, box.c, codec.one), side_of(from.a, from.c, codec.one),
                       codec.wx, codec.ww, {gradient.a, gradient.c}, box_x, from_x);
  encode_axis_gradient(side_of(box.b, box.d, codec.one), side_of(from.b, from.d, codec.one),
                       codec.wy, codec.wh, {gradient.b, gradient.d}, box_y, from_y);
  to_box = {box_x.low, box_y.low, box_x.high, box_y.high};
  to_from = {from_x.low, from_y.low, from_x.high, from_y.high};
}

// min(x, limit) that keeps NaN.
template <class T>
PV_HD T at_most(T x, T limit) {
  return x > limit ? limit : x;
}

template <class T>
PV_HD Ends<T> decode_axis(T shift, T growth, const Side<T>& from, T shift_weight, T growth_weight,
                          T clip, T one) {
  const T centre = plus(times(shift / shift_weight, from.length), from.centre);
  const T grown = exponential(at_most(growth / growth_weight, clip));
  const T half = times(T(0.5), times(grown, from.length));
  return {minus(centre, half), minus(plus(centre, half), one)};
}

template <class T>
PV_HD Four<T> decode_box(const Four<T>& offsets, const Side<T>& x, const Side<T>& y,
                         const Codec<T>& codec) {
  const Ends<T> ends_x =
      decode_axis(offsets.a, offsets.c, x, codec.wx, codec.ww, codec.clip, codec.one);
  const Ends<T> ends_y =
      decode_axis(offsets.b, offsets.d, y, codec.wy, codec.wh, codec.clip, codec.one);
  return {ends_x.low, ends_y.low, ends_x.high, ends_y.high};
}

// What one decoded axis' gradient means for its offset and for the length and centre it came from.
template <class T>
PV_HD Offset<T> decode_axis_gradient(T shift, T growth, const Side<T>& from, T shift_weight,
                                     T growth_weight, T clip, const Ends<T>& gradient,
                                     Side<T>& to_from) {
  const T to_centre = plus(gradient.low, gradient.high);
  const T to_size = times(T(0.5), minus(gradient.high, gradient.low));
  const T log_ratio = growth / growth_weight;
  const T grown = exponential(at_most(log_ratio, clip));
  to_from = {plus(times(to_centre, shift / shift_weight), times(to_size, grown)), to_centre};
  const T through = log_ratio <= clip ? times(times(to_size, from.length), grown) : T(0);
  return {times(to_centre, from.length) / shift_weight, through / growth_weight};
}

// [0, limit]; NaN stays.
template <class T>
PV_HD T clip_coordinate(T x, T limit) {
  return at_most(positive(x), limit);
}

}  // namespace
}  // namespace pyvqa
