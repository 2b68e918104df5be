// The lights of a picture: three square lamps that look at the origin, and the sun.
#pragma once

#include "render/scene.h"

namespace pyvqa {
namespace {

constexpr int kLamps = 3;
constexpr int kSun = 3;
constexpr float kPi = 3.14159265f;

struct Lamp {
  float centre[3] = {0, 0, 10};
  float u[3] = {}, v[3] = {};  // half sides of the square
  float axis[3] = {};          // where it shines
  float power[3] = {};         // P / 4 in each colour
  float radiance[3] = {};
  float half = 0;
};

struct Lights {
  Lamp lamps[kLamps];
  // The sun is a square in the sky with the area of its disc.
  float sun[3] = {}, sun_u[3] = {}, sun_v[3] = {};
};

constexpr float kSunPower = 0.45f;
constexpr float kSunRadius = 0.09998f;
constexpr float kFar = 40.0f;  // beyond every object

PV_HD void lamp_frame(const double* n, double half, float* u, float* v) {
  const double flat = root(n[0] * n[0] + n[1] * n[1]);
  const double x = flat < 1e-12 ? 1 : -n[1] / flat, y = flat < 1e-12 ? 0 : n[0] / flat;
  u[0] = static_cast<float>(half * x);
  u[1] = static_cast<float>(half * y);
  u[2] = 0;
  v[0] = static_cast<float>(half * -n[2] * y);
  v[1] = static_cast<float>(half * n[2] * x);
  v[2] = static_cast<float>(half * (n[0] * y - n[1] * x));
}

// A square lamp that looks at the origin; dark where its position is not finite.
PV_HD Lamp lamp_at(const double* position, double watts, double side, const double* color) {
  Lamp lamp;
  const double size = root(inner(position, position));
  if (!(size > 1e-6 && size < 1e6)) return lamp;
  double n[3];
  for (int i = 0; i < 3; ++i) {
    n[i] = position[i] / size;
    lamp.centre[i] = static_cast<float>(position[i]);
    lamp.axis[i] = static_cast<float>(-n[i]);
    lamp.power[i] = static_cast<float>(0.25 * watts * color[i]);
    lamp.radiance[i] = static_cast<float>(0.25 * watts * color[i] / (side * side));
  }
  lamp.half = static_cast<float>(0.5 * side);
  lamp_frame(n, 0.5 * side, lamp.u, lamp.v);
  return lamp;
}

// The key, fill and back lamp at their positions, and the sun.
PV_HD Lights lights_from(const double* positions) {
  Lights lights;
  const double key[3] = {1, 0.932309, 0.816664}, fill[3] = {0.761666, 0.817720, 1},
               back[3] = {1, 1, 1};
  lights.lamps[0] = lamp_at(positions, 100, 0.5, key);
  lights.lamps[1] = lamp_at(positions + 3, 30, 0.5, fill);
  lights.lamps[2] = lamp_at(positions + 6, 50, 1.0, back);
  const double sun[3] = {0.414496, -0.194583, 0.889005};
  for (int i = 0; i < 3; ++i) lights.sun[i] = static_cast<float>(sun[i]);
  lamp_frame(sun, 0.886227 * kSunRadius, lights.sun_u, lights.sun_v);
  return lights;
}

}  // namespace
}  // namespace pyvqa
