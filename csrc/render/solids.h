// The three solids and rays that meet them.
//
// A solid is a smooth convex body: a box or a cylinder of half size `kFlat` grown by a rounding of
// exponent 3, {p : sum of e_i(p)^3 <= round^3} with e_i how far p lies beyond the flat part along
// axis i. That sum is convex along a ray, so Newton steps from outside approach the first crossing
// from one side, never jump over it, and a rising slope means that the ray misses.
#pragma once

#include "render/lanes.h"

namespace pyvqa {
namespace {

enum Kind : int { cube = 0, cylinder, sphere };

// In units of an object's radius; fitted to the outlines of genuine pictures.
constexpr float kSphere = 0.9992f;
constexpr float kCubeFlat = 0.75f;
constexpr float kCylinderFlat = 0.926f;
constexpr int kSteps = 14;       // of Newton; a ray that needs more touches the outline
constexpr float kClose = 1e-4f;  // of round^3: 1e-5 of the radius from the surface

// No point of the solid is further from its centre.
PV_HD constexpr float beyond(int32_t kind) {
  return kind == cube ? 1.61f : kind == cylinder ? 1.39f : 1.0f;
}

// One object, ready to be met by rays. Local coordinates: centred, turned, in radii.
struct Solid {
  int32_t kind = sphere;
  int32_t metal = 0;
  float centre[3] = {};
  float radius = 0;   // 0: not a solid, no ray meets it
  float inverse = 0;  // 1 / radius
  float cosine = 1, sine = 0;
  float beyond = 0;   // of the sphere around the solid, world units
  float eye[3] = {};  // the camera in local coordinates
  float color[3] = {};
  int32_t left = 0, right = 0, top = 0, bottom = 0;  // pixels that may show it, half open
};

template <class F>
PV_HD Vec3<F> turned_in(const Solid& s, const Vec3<F>& a) {
  const F c(s.cosine), n(s.sine);
  return {c * a.x + n * a.y, c * a.y - n * a.x, a.z};
}
template <class F>
PV_HD Vec3<F> turned_out(const Solid& s, const Vec3<F>& a) {
  const F c(s.cosine), n(s.sine);
  return {c * a.x - n * a.y, c * a.y + n * a.x, a.z};
}
template <class F>
PV_HD Vec3<F> to_local(const Solid& s, const Vec3<F>& p) {
  return turned_in(s, (p - wide<F>(s.centre)) * F(s.inverse));
}

// The part of a line between two parallel planes, one unit either side of the origin.
template <class F>
PV_HD void between_planes(F p, F d, F& enter, F& leave) {
  const F safe = select(magnitude(d) < F(1e-20f), F(1e-20f), d);
  const F inverse = F(1.0f) / safe, half = magnitude(inverse), middle = F(0.0f) - p * inverse;
  enter = larger(enter, middle - half);
  leave = smaller(leave, middle + half);
}

template <class F>
PV_HD F beyond_flat(F p, float flat) {
  return larger(magnitude(p) - F(flat), F(0.0f));
}
template <class F>
PV_HD F with_sign(F size, F of) {
  return select(of < F(0.0f), F(0.0f) - size, size);
}

// How far outside: the sum of cubes and its gradient over 3.
template <class F>
struct Outside {
  F value;
  Vec3<F> slope;
};

template <class F>
PV_HD Outside<F> outside_cube(const Vec3<F>& p) {
  const F x = beyond_flat(p.x, kCubeFlat), y = beyond_flat(p.y, kCubeFlat),
          z = beyond_flat(p.z, kCubeFlat);
  const F x2 = x * x, y2 = y * y, z2 = z * z;
  return {x2 * x + y2 * y + z2 * z, {with_sign(x2, p.x), with_sign(y2, p.y), with_sign(z2, p.z)}};
}

template <class F>
PV_HD Outside<F> outside_cylinder(const Vec3<F>& p) {
  const F from_axis = root(p.x * p.x + p.y * p.y);
  const F e = larger(from_axis - F(kCylinderFlat), F(0.0f)), z = beyond_flat(p.z, kCylinderFlat);
  const F e2 = e * e, z2 = z * z, along = e2 / larger(from_axis, F(1e-6f));
  return {e2 * e + z2 * z, {along * p.x, along * p.y, with_sign(z2, p.z)}};
}

template <int K, class F>
PV_HD Outside<F> outside(const Vec3<F>& p) {
  if constexpr (K == cube) {
    return outside_cube(p);
  } else {
    return outside_cylinder(p);
  }
}

template <int K>
PV_HD constexpr float round_cubed() {
  constexpr float r = 1.0f - (K == cube ? kCubeFlat : kCylinderFlat);
  return r * r * r;
}

// Where the line p + t d lies within the box or the sharp cylinder around the solid.
template <int K, class F>
PV_HD Mask<F> enters(const Vec3<F>& p, const Vec3<F>& d, F& enter, F& leave) {
  between_planes(p.z, d.z, enter, leave);
  if constexpr (K == cube) {
    between_planes(p.x, d.x, enter, leave);
    between_planes(p.y, d.y, enter, leave);
    return enter <= leave;
  } else {
    const F a = larger(d.x * d.x + d.y * d.y, F(1e-20f)), b = p.x * d.x + p.y * d.y;
    const F square = b * b - a * (p.x * p.x + p.y * p.y - F(1.0f));
    const F half = root(larger(square, F(0.0f))) / a, middle = F(0.0f) - b / a;
    enter = larger(enter, middle - half);
    leave = smaller(leave, middle + half);
    return (square >= F(0.0f)) & (enter <= leave);
  }
}

// Newton from `at` (outside, before the solid) to the surface: which rays meet it, and where.
template <int K, class F>
PV_HD Mask<F> approach(const Vec3<F>& p, const Vec3<F>& d, Mask<F> hit, F& at, F leave, int steps) {
  constexpr float r3 = round_cubed<K>();
  for (int step = 0; step < steps; ++step) {
    const Outside<F> out = outside<K>(p + d * at);
    const F above = out.value - F(r3);
    const F falling = F(-3.0f) * dot(out.slope, d);
    Mask<F> active = hit & (above > F(kClose * r3));
    if (!any(active)) break;
    const Mask<F> goes_on = falling > F(0.0f);
    hit = hit & ((!active) | goes_on);
    active = active & goes_on;
    at = select(active, at + above / select(active, falling, F(1.0f)), at);
    hit = hit & (at <= leave);
  }
  return hit;
}

template <int K, class F>
PV_HD Mask<F> meets(const Vec3<F>& o, const Vec3<F>& d, F& t) {
  const F nearest = F(0.0f) - dot(o, d);
  const Vec3<F> p = o + d * nearest;  // the ray's closest point to the centre: small numbers
  const F square = dot(p, p);
  if constexpr (K == sphere) {
    const F left = F(kSphere * kSphere) - square;
    t = nearest - root(larger(left, F(0.0f)));
    return left >= F(0.0f);
  } else {
    const Mask<F> near_enough = square <= F(beyond(K) * beyond(K));
    t = nearest;
    if (!any(near_enough)) return near_enough;
    F at(-4.0f), leave(4.0f);
    Mask<F> hit = near_enough & enters<K>(p, d, at, leave);
    if (any(hit)) hit = approach<K>(p, d, hit, at, leave, kSteps);
    t = nearest + at;
    return hit;
  }
}

// Where the ray from o along the unit vector d (local coordinates) first meets the solid.
template <class F>
PV_HD Mask<F> meets(int32_t kind, const Vec3<F>& o, const Vec3<F>& d, F& t) {
  if (kind == cube) return meets<cube>(o, d, t);
  if (kind == cylinder) return meets<cylinder>(o, d, t);
  return meets<sphere>(o, d, t);
}

// The outward normal at a point of the surface, world coordinates.
template <class F>
PV_HD Vec3<F> normal_at(const Solid& s, const Vec3<F>& local) {
  if (s.kind == sphere) return turned_out(s, unit(local));
  const Vec3<F> slope = s.kind == cube ? outside_cube(local).slope : outside_cylinder(local).slope;
  return turned_out(s, unit(slope * F(1e4f)));
}

}  // namespace
}  // namespace pyvqa
