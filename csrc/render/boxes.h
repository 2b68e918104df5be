// The box of a whole object in the picture: the four planes through the camera that touch the
// solid.
#pragma once

#include "render/scene.h"

namespace pyvqa {
namespace {

// The cube root of a positive number: Newton from above converges from one side.
PV_HD double cube_root(double a) {
  double x = a > 1 ? a : 1;
  PV_ROLLED
  for (int step = 0; step < 60; ++step) {
    const double next = x - (x * x * x - a) / (3 * x * x);
    if (!(next < x)) break;
    x = next;
  }
  return x;
}

// How far a rounding of exponent 3 reaches along a direction: the dual norm, of exponent 3/2.
PV_HD double rounding_reach(double a, double b, double c) {
  const double sum = a * root(a) + b * root(b) + c * root(c);
  return sum > 0 ? cube_root(sum * sum) : 0;
}

// How far the solid reaches along a direction (local coordinates).
PV_HD double reach(int32_t kind, double x, double y, double z) {
  if (kind == sphere) return kSphere * root(x * x + y * y + z * z);
  const double a = x < 0 ? -x : x, b = y < 0 ? -y : y, c = z < 0 ? -z : z;
  if (kind == cube) return kCubeFlat * (a + b + c) + (1.0 - kCubeFlat) * rounding_reach(a, b, c);
  const double flat = root(x * x + y * y);
  return kCylinderFlat * (flat + c) + (1.0 - kCylinderFlat) * rounding_reach(flat, 0, c);
}

struct Placed {
  int32_t kind;
  double radius, cosine, sine;
  double from_camera[3];
};

PV_HD double farthest(const Placed& p, const double* v) {
  const double x = p.cosine * v[0] + p.sine * v[1], y = p.cosine * v[1] - p.sine * v[0];
  return inner(p.from_camera, v) + p.radius * reach(p.kind, x, y, v[2]);
}

// The largest (d . along) / depth over the solid's points d: where the touching plane turns over.
PV_HD double largest_slope(const Placed& p, const double* along, double sign, const double* back) {
  double low = -1e4, high = 1e4;
  PV_ROLLED
  for (int step = 0; step < 56; ++step) {
    const double s = 0.5 * (low + high);
    double v[3];
    for (int i = 0; i < 3; ++i) v[i] = sign * along[i] + s * back[i];
    if (farthest(p, v) > 0) {
      low = s;
    } else {
      high = s;
    }
  }
  return 0.5 * (low + high);
}

// First pixel and number of pixels whose centres lie between two places, within the picture.
PV_HD void span(double from, double to, int32_t size, int64_t& first, int64_t& count) {
  const double low = from - 0.5 > 0 ? from - 0.5 < size ? from - 0.5 : size : 0;
  const double high = to + 0.5 > 0 ? to + 0.5 < size ? to + 0.5 : size : 0;
  const int64_t floor_low = static_cast<int64_t>(low);
  first = floor_low + (static_cast<double>(floor_low) < low ? 1 : 0);
  const int64_t end = static_cast<int64_t>(high);
  count = end > first ? end - first : 0;
}

// x, y, width, height; zeros for what is not there, not all before the camera or not in the frame.
PV_HD void box_of(const View& v, const double* geometry, const uint8_t* kinds, int64_t* box) {
  const float color[3] = {};
  const Solid s = solid_from(v, geometry, kinds, color);
  for (int i = 0; i < 4; ++i) box[i] = 0;
  if (!(s.radius > 0)) return;
  Placed p{s.kind, geometry[3], 0, 0, {}};
  sine_cosine(geometry[4], p.sine, p.cosine);
  for (int i = 0; i < 3; ++i) p.from_camera[i] = geometry[i] - v.position[i];
  if (!(farthest(p, v.back) < -kNear)) return;
  const double right = largest_slope(p, v.across, 1, v.back),
               left = -largest_slope(p, v.across, -1, v.back),
               above = largest_slope(p, v.up, 1, v.back),
               below = -largest_slope(p, v.up, -1, v.back);
  const double middle = 0.5 * v.width, centre = 0.5 * v.height;
  span(middle + v.focal * left, middle + v.focal * right, v.width, box[0], box[2]);
  span(centre - v.focal * above, centre - v.focal * below, v.height, box[1], box[3]);
  if (box[2] > 0 && box[3] > 0) return;
  for (int i = 0; i < 4; ++i) box[i] = 0;
}

}  // namespace
}  // namespace pyvqa
