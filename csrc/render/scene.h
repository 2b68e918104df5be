// What one picture is made of, prepared once in double precision: camera and objects as rays meet
// them. Sine and cosine are polynomials of our own, so every machine prepares the same bits.
#pragma once

#include "render/solids.h"

namespace pyvqa {
namespace {

constexpr double kFocal = 35.0 / 32.0;  // focal length / width of the picture
constexpr double kNear = 0.1;           // what is closer to the camera is not seen
constexpr int kMostObjects = 1024;      // of one picture that are drawn

PV_HD double root(double a) {
#if defined(__CUDA_ARCH__)
  return __dsqrt_rn(a);
#else
  return __builtin_sqrt(a);
#endif
}

struct View {
  int32_t width = 0, height = 0;
  double position[3] = {}, across[3] = {}, up[3] = {}, back[3] = {};
  double focal = 0;
  float eye[3] = {}, r[3] = {}, u[3] = {}, n[3] = {};
  float per_pixel = 0, half_width = 0, half_height = 0;
};

PV_HD double inner(const double* a, const double* b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
PV_HD bool finite(double a) { return a > -1e6 && a < 1e6; }

// Sine and cosine of an angle below a million, each to about 1e-15.
PV_HD void sine_cosine(double angle, double& sine, double& cosine) {
  const double quarter = angle * 0.63661977236758134308;
  const int64_t turns = static_cast<int64_t>(quarter + (quarter < 0 ? -0.5 : 0.5));
  const double k = static_cast<double>(turns);
  const double x = (angle - k * 1.57079632673412561417) - k * 6.07710050650619224932e-11;
  const double x2 = x * x;
  double s = 1, c = 1;
  PV_ROLLED
  for (int term = 17; term >= 3; term -= 2) {
    s = 1 - s * x2 / (term * (term - 1));
    c = 1 - c * x2 / ((term - 1) * (term - 2));
  }
  s *= x;
  const int part = static_cast<int>(turns & 3);
  sine = part == 0 ? s : part == 1 ? c : part == 2 ? -s : -c;
  cosine = part == 0 ? c : part == 1 ? -s : part == 2 ? -c : s;
}

// The camera at a position looks at the origin with z up; straight above it, x is to the right.
PV_HD View view_from(const double* position, int32_t height, int32_t width) {
  View v;
  v.width = width;
  v.height = height;
  v.focal = kFocal * width;
  const double size = root(inner(position, position));
  for (int i = 0; i < 3; ++i) {
    v.position[i] = position[i];
    v.back[i] = size > 0 ? position[i] / size : i == 2 ? 1 : size;
  }
  const double flat = root(v.back[0] * v.back[0] + v.back[1] * v.back[1]);
  v.across[0] = flat < 1e-12 ? 1 : -v.back[1] / flat;
  v.across[1] = flat < 1e-12 ? 0 : v.back[0] / flat;
  v.up[0] = -v.back[2] * v.across[1];
  v.up[1] = v.back[2] * v.across[0];
  v.up[2] = v.back[0] * v.across[1] - v.back[1] * v.across[0];
  for (int i = 0; i < 3; ++i) {
    v.eye[i] = static_cast<float>(v.position[i]);
    v.r[i] = static_cast<float>(v.across[i]);
    v.u[i] = static_cast<float>(v.up[i]);
    v.n[i] = static_cast<float>(v.back[i]);
  }
  v.per_pixel = static_cast<float>(1 / v.focal);
  v.half_width = 0.5f * static_cast<float>(width);
  v.half_height = 0.5f * static_cast<float>(height);
  return v;
}

// The direction, of length 1, and the depth per unit of length of the ray through a place of the
// picture (pixels; pixel 0 has its centre at 0.5).
template <class F>
PV_HD Vec3<F> direction(const View& v, F x, F y, F& depth) {
  const F a = (x - F(v.half_width)) * F(v.per_pixel), b = (F(v.half_height) - y) * F(v.per_pixel);
  depth = F(1.0f) / root(a * a + b * b + F(1.0f));
  const Vec3<F> d = wide<F>(v.r) * a + wide<F>(v.u) * b - wide<F>(v.n);
  return d * depth;
}

PV_HD int32_t pixel_bound(double place, int32_t size) {
  const double bounded = place > 0 ? place < size ? place : size : 0;  // 0 where not a number
  return static_cast<int32_t>(bounded);
}

// The pixels [first, last) along one axis that a ball at (across, depth) may cover.
PV_HD void covered(double across, double depth, double ball, double focal, int32_t size,
                   int32_t& first, int32_t& last) {
  const double low = across - ball, high = across + ball;
  const double least = low / (low < 0 ? depth - ball : depth + ball);
  const double most = high / (high < 0 ? depth + ball : depth - ball);
  first = pixel_bound(focal * least + 0.5 * size - 1, size);
  last = pixel_bound(focal * most + 0.5 * size + 2, size);
}

PV_HD void find_pixels(const View& v, double x, double y, double depth, Solid& s) {
  const double ball = s.beyond;
  if (!(depth + ball > kNear)) return;
  if (!(depth - ball > kNear)) {
    s.right = v.width;
    s.bottom = v.height;
    return;
  }
  covered(x, depth, ball, v.focal, v.width, s.left, s.right);
  covered(-y, depth, ball, v.focal, v.height, s.top, s.bottom);
}

// An object as a solid; one that is not finite or has no size is not there. `geometry` holds x, y,
// z, radius and rotation, `kinds` shape and material.
PV_HD Solid solid_from(const View& v, const double* geometry, const uint8_t* kinds,
                       const float* color) {
  Solid s;
  for (int i = 0; i < 3; ++i) s.color[i] = color[i] > 0 ? color[i] < 1e4f ? color[i] : 1e4f : 0;
  s.metal = kinds[1] != 0;
  s.kind = kinds[0] == cube || kinds[0] == cylinder ? kinds[0] : int32_t{sphere};
  bool there = geometry[3] > 1e-6;
  for (int i = 0; i < 5; ++i) there = there && finite(geometry[i]);
  for (int i = 0; i < 3; ++i) there = there && finite(v.position[i]);
  if (!there) return s;
  const double radius = geometry[3];
  double sine = 0, cosine = 1, from[3];
  sine_cosine(geometry[4], sine, cosine);
  for (int i = 0; i < 3; ++i) {
    s.centre[i] = static_cast<float>(geometry[i]);
    from[i] = (v.position[i] - geometry[i]) / radius;
  }
  s.radius = static_cast<float>(radius);
  s.inverse = static_cast<float>(1 / radius);
  s.sine = static_cast<float>(sine);
  s.cosine = static_cast<float>(cosine);
  s.eye[0] = static_cast<float>(cosine * from[0] + sine * from[1]);
  s.eye[1] = static_cast<float>(cosine * from[1] - sine * from[0]);
  s.eye[2] = static_cast<float>(from[2]);
  s.beyond = beyond(s.kind) * s.radius;
  find_pixels(v, -radius * inner(from, v.across), -radius * inner(from, v.up),
              radius * inner(from, v.back), s);
  return s;
}

// The nearest object along rays from the camera.
template <class F>
struct Sight {
  F distance;  // along the ray, world units
  Int<F> id;   // -1 where none
};

template <class F>
PV_HD Sight<F> nothing_seen() {
  return {F(1e30f), Splat<F>::integer(-1)};
}

// Adds one object to what rays from the camera see; of two at one distance the first stays.
template <class F>
PV_HD void look_at(const Solid& s, int32_t id, const Vec3<F>& d, F depth, Sight<F>& sight) {
  F t;
  const Mask<F> hit = meets(s.kind, wide<F>(s.eye), turned_in(s, d), t);
  const F distance = t * F(s.radius);
  const Mask<F> nearer =
      hit & (distance * depth > F(static_cast<float>(kNear))) & (distance < sight.distance);
  sight.distance = select(nearer, distance, sight.distance);
  sight.id = select(nearer, Splat<F>::integer(id), sight.id);
}

// What the centre of one pixel shows.
PV_HD Sight<float> seen_by_pixel(const View& view, const Solid* solids, int count, int32_t x,
                                 int32_t y) {
  float depth;
  const Vec3<float> d = direction(view, to_float(x) + 0.5f, to_float(y) + 0.5f, depth);
  Sight<float> sight = nothing_seen<float>();
  for (int k = 0; k < count; ++k) {
    const Solid& s = solids[k];
    if (x >= s.left && x < s.right && y >= s.top && y < s.bottom) look_at(s, k, d, depth, sight);
  }
  return sight;
}

// Objects [begin, end) of picture b. Offsets that fall count as the largest before them, so no
// object is in two pictures, whatever the offsets hold.
PV_HD void objects_of(const int64_t* offsets, int64_t objects, int64_t b, int64_t& begin,
                      int64_t& end) {
  begin = 0;
  for (int64_t i = 0; i <= b; ++i) begin = offsets[i] > begin ? offsets[i] : begin;
  end = offsets[b + 1] > begin ? offsets[b + 1] : begin;
  begin = begin < objects ? begin : objects;
  end = end < objects ? end : objects;
  if (end - begin > kMostObjects) end = begin + kMostObjects;
}

}  // namespace
}  // namespace pyvqa
