// From rays to pixels: how many rays a pixel gets, where they go, and the bytes they become.
#pragma once

#include "render/shade.h"

namespace pyvqa {
namespace {

constexpr float kGrainEven = 145.0f;  // the level from which on the ground's grain is the same
// Cosines between neighbours' normals that one ray, or a few on metal, can stand for.
constexpr float kSmooth = 0.97f, kSmoothMetal = 0.99f;

// What one picture is drawn with and where its first results are.
struct Frame_maps {
  const int16_t* ids;
  const float* normals;
};

// Where a share of the light that falls on a pixel comes from, in pixels from its centre: the
// quantiles of a Blackman-Harris window 3 pixels wide.
PV_HD float filter_place(float share) {
  static constexpr float places[33] = {
      -1.2000f, -0.7700f, -0.6422f, -0.5556f, -0.4870f, -0.4290f, -0.3778f, -0.3314f, -0.2882f,
      -0.2478f, -0.2094f, -0.1724f, -0.1368f, -0.1018f, -0.0676f, -0.0338f, -0.0000f, 0.0336f,
      0.0674f,  0.1018f,  0.1366f,  0.1724f,  0.2092f,  0.2478f,  0.2882f,  0.3312f,  0.3776f,
      0.4288f,  0.4870f,  0.5554f,  0.6420f,  0.7698f,  1.2000f};
  const float at = share * 32.0f;
  const int low = static_cast<int>(at) < 31 ? static_cast<int>(at) : 31;
  return places[low] + (at - static_cast<float>(low)) * (places[low + 1] - places[low]);
}

PV_HD uint32_t scrambled_word(uint32_t x) { return scrambled<float>(x); }

// The key of a ray's random numbers: nothing but the picture's seed, the pixel and the ray.
PV_HD uint32_t ray_key(uint64_t seed, uint32_t pixel, uint32_t ray) {
  const uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  const uint32_t picture = scrambled_word(low ^ scrambled_word(high + 0x51ed270bu));
  return scrambled_word(scrambled_word(picture + pixel) + ray * 0x9e3779b9u);
}

struct Place {
  float x, y;
  uint32_t key;
};

// Ray `ray` of `count` through a pixel.
PV_HD Place ray_place(uint64_t seed, int32_t width, int32_t x, int32_t y, int ray, int count) {
  const uint32_t pixel =
      static_cast<uint32_t>(y) * static_cast<uint32_t>(width) + static_cast<uint32_t>(x);
  Place place{to_float(x) + 0.5f, to_float(y) + 0.5f,
              ray_key(seed, pixel, static_cast<uint32_t>(ray))};
  if (count == 1) return place;
  float a, b, shift_a, shift_b;
  spread_point(static_cast<uint32_t>(ray), a, b);
  Random<float>{ray_key(seed, pixel, 0x7fffffffu)}.pair(0, shift_a, shift_b);
  place.x += filter_place(wrapped(a + shift_a));
  place.y += filter_place(wrapped(b + shift_b));
  return place;
}

// How many rays a pixel gets: most where objects or faces meet, more on metal than elsewhere.
PV_HD int rays_of_pixel(const Solid* solids, const Frame_maps& maps, int32_t height, int32_t width,
                        int32_t x, int32_t y, int samples) {
  const int64_t here = int64_t{y} * width + x;
  const int id = maps.ids[here];
  const float* n = maps.normals + 3 * here;
  const bool metal = id >= 0 && solids[id].metal != 0;
  const float smooth = metal ? kSmoothMetal : kSmooth;
  bool edge = false;
  for (int32_t j = y > 0 ? y - 1 : 0; j <= (y + 1 < height ? y + 1 : y); ++j)
    for (int32_t i = x > 0 ? x - 1 : 0; i <= (x + 1 < width ? x + 1 : x); ++i) {
      const int64_t there = int64_t{j} * width + i;
      const float* m = maps.normals + 3 * there;
      edge = edge || maps.ids[there] != id ||
             (id >= 0 && n[0] * m[0] + n[1] * m[1] + n[2] * m[2] < smooth);
    }
  if (edge) return samples;
  const int count = metal ? samples / 4 : samples / 16;
  return count < 1 ? 1 : count;
}

// Few rays through a pixel look around a lot, many look around little. What little light comes from
// objects must not show as noise on even surfaces: a single ray looks in fixed directions.
PV_HD Effort effort_of(int rays, int samples, bool object) {
  if (samples < 4) return {4, 4, 4, false};
  if (rays == 1) return {16, object ? 56 : 40, 8, true};
  if (rays <= 4) return {8, 8, 16, false};
  return {4, 4, 2, false};
}

// What one ray through a pixel sees.
PV_FN Vec3<float> ray_color(const Stage& stage, uint64_t seed, int32_t x, int32_t y, int ray,
                            int rays, int samples, bool object) {
  const Place place = ray_place(seed, stage.view->width, x, y, ray, rays);
  float depth;
  const Vec3<float> d = direction(*stage.view, place.x, place.y, depth);
  Sight<float> sight = nothing_seen<float>();
  for (int k = 0; k < stage.count; ++k) {
    const Solid& s = stage.solids[k];
    const bool near = x >= s.left - 1 && x <= s.right && y >= s.top - 1 && y <= s.bottom;
    if (near && s.right > s.left && s.bottom > s.top) look_at(s, k, d, depth, sight);
  }
  return brightness(stage, d, sight, effort_of(rays, samples, object), Random<float>{place.key});
}

PV_HD float screen_level(float linear) {
  const float l = clamped(linear, 0.0f, 1.0f);
  const float curve =
      l <= 0.0031308f ? 12.92f * l : 1.055f * exp2(log2(l) * (1.0f / 2.4f)) - 0.055f;
  return 255.0f * curve;
}

// How much of the grain asked for lies on a pixel: less of it where more light falls on the ground,
// more of it where more falls on rubber. Metal has enough of its own.
PV_HD float grain_share(const Solid* solid, float level) {
  if (solid != nullptr)
    return solid->metal != 0 ? 0.0f : clamped(0.2f + 0.005f * level, 0.3f, 0.9f);
  const float dim = clamped((kGrainEven - level) * (1.0f / 40.0f), 0.0f, 1.2f);
  return 0.52f + 0.46f * dim * dim;
}

// The bytes of a pixel from its linear colour: the screen's curve and some grain. What grain lacks
// in strength, each channel has more of its own, as where several lamps light a place.
PV_HD void write_pixel(const float* linear, float grain, const Solid* solid, uint64_t seed,
                       uint32_t pixel, uint8_t* to) {
  const Random<float> random{ray_key(seed, pixel, 0x7ffffffeu)};
  float a, b, c, d, clean[3];
  random.pair(0, a, b);
  random.pair(1, c, d);
  for (int i = 0; i < 3; ++i) clean[i] = screen_level(linear[i]);
  const float share = grain_share(solid, (clean[0] + clean[1] + clean[2]) * (1.0f / 3.0f));
  // Sums of one set of numbers with other signs know nothing of one another.
  const float signs[3] = {a - b + c - d, a - b - c + d, a + b - c - d};
  const float whole = 1.7320508f * (a + b + c + d - 2.0f);
  const float shared = share * whole * (0.924f + 0.0277f * whole * whole);
  const float own = share > 0.0f && share < 1.0f ? 0.8f * (1.0f - share) : 0.0f;
  for (int i = 0; i < 3; ++i) {
    const float level = clamped(clean[i] + grain * (shared + own * signs[i]), 0.0f, 255.0f);
    to[i] = static_cast<uint8_t>(to_int(level + 0.5f));
  }
}

}  // namespace
}  // namespace pyvqa
