// Light that comes from surfaces: what a ray sees, roughly, and what a place receives.
#pragma once

#include "render/direct.h"

namespace pyvqa {
namespace {

template <class F>
PV_HD Int<F> map_index(F at, int cells) {
  return to_int(clamped(at, 0.0f, static_cast<float>(cells) - 1.0f));
}

// The brightness of the ground at a place, from the map.
template <class F>
PV_HD Vec3<F> ground_brightness(const Stage& stage, F x, F y) {
  const F scale(kMap / kMapSide), middle(0.5f * kMap);
  const Int<F> cell = map_index(y * scale + middle, kMap) * Splat<F>::integer(kMap) +
                      map_index(x * scale + middle, kMap);
  constexpr int plane = kMap * kMap;
  return {lookup(stage.map, cell), lookup(stage.map + plane, cell),
          lookup(stage.map + 2 * plane, cell)};
}

// What stands above the horizon in a direction, from the map.
template <class F>
PV_HD Vec3<F> sky_brightness(const Stage& stage, const Vec3<F>& d) {
  const F sum = magnitude(d.x) + magnitude(d.y) + larger(d.z, F(0.0f));
  const F scale = F(0.5f * kSky) / larger(sum, F(1e-6f)), middle(0.5f * kSky);
  const Int<F> cell = map_index((d.x - d.y) * scale + middle, kSky) * Splat<F>::integer(kSky) +
                      map_index((d.x + d.y) * scale + middle, kSky);
  constexpr int plane = kSky * kSky;
  const float* sky = stage.map + 3 * kMap * kMap;
  return {lookup(sky, cell), lookup(sky + plane, cell), lookup(sky + 2 * plane, cell)};
}

// The direction that a cell of the sky's map stands for.
PV_HD Vec3<float> sky_direction(int cell) {
  const float u = (static_cast<float>(cell / kSky) + 0.5f) * (2.0f / kSky) - 1.0f,
              v = (static_cast<float>(cell % kSky) + 0.5f) * (2.0f / kSky) - 1.0f;
  const float x = 0.5f * (v + u), y = 0.5f * (v - u);
  const float z = 1.0f - magnitude(x) - magnitude(y);
  return unit(Vec3<float>{x, y, larger(z, 0.02f)});
}

// What a ray that meets no object sees: ground or sky.
template <class F>
PV_FN Vec3<F> surroundings(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d) {
  const Mask<F> down = d.z < F(-0.03f);
  const F t = F(0.0f) - larger(o.z, F(0.0f)) / select(down, d.z, F(-1.0f));
  const Vec3<F> ground = ground_brightness(stage, o.x + t * d.x, o.y + t * d.y);
  return select<F>(down, ground, sky_brightness(stage, d));
}

// What the sweep sees of itself, as an even brightness all around.
template <class F>
PV_HD Vec3<F> glow_around(const Vec3<F>& p) {
  const F glow = sweep_glow(p) * F(1.0f / kGroundColor);
  return {glow, glow, glow};
}

// What a surface receives from the ground below it, without looking for objects between.
template <class F>
PV_HD Vec3<F> from_below(const Stage& stage, const Surface<F>& at) {
  const F share = F(0.5f) - F(0.5f) * at.n.z;
  return ground_brightness(stage, at.p.x + at.n.x * at.p.z, at.p.y + at.n.y * at.p.z) *
         (F(kPi) * share);
}

// How bright objects look to a ray, without shadows.
template <class F>
PV_FN Vec3<F> object_brightness(const Stage& stage, const Surface<F>& at, const Random<F>& random) {
  const Finish<F> finish = plain_finish(at);
  const Light<F> light = direct_light(stage, at, finish, Care{1, 0, false}, random);
  Vec3<F> out = (light.matt + from_below(stage, at)) * F(1.0f / kPi);
  if (any(at.metal)) {
    const Vec3<F> mirrored = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
    out = select<F>(at.metal, light.gloss + surroundings(stage, at.p, mirrored), out);
  }
  return {out.x * at.color.x, out.y * at.color.y, out.z * at.color.z};
}

// How much brighter than its surroundings what rays see is, roughly: objects, without shadows on
// them. Behind them are ground and sky or, for rays of the sweep, its own glow.
template <class F>
PV_FN Vec3<F> beyond_surroundings(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d,
                                  const Int<F>& skip, Mask<F> wants_ground,
                                  const Random<F>& random) {
  const Sight<F> sight = nearest_object(stage, o, d, skip, wants_ground);
  const F ground = select(d.z < F(-1e-4f), F(0.0f) - o.z / smaller(d.z, F(-1e-4f)), F(1e29f));
  const Mask<F> object = sight.distance < ground;
  if (!any(object)) return nowhere<F>();
  Surface<F> at;
  at.there = at.object = object;
  at.id = select(object, sight.id, Splat<F>::integer(-1));
  at.distance = select(object, sight.distance, F(1.0f));
  at.p = o + d * at.distance;
  at.v = nowhere<F>() - d;
  at.n = {F(0.0f), F(0.0f), F(1.0f)};
  at.color = nowhere<F>();
  at.brushed = {F(1.0f), F(0.0f), F(0.0f)};
  look_up_objects(stage, at);
  Vec3<F> behind = glow_around(o);
  if (any(wants_ground)) behind = select<F>(wants_ground, surroundings(stage, o, d), behind);
  return select<F>(object, object_brightness(stage, at, random) - behind, nowhere<F>());
}

// What rays from an object see, roughly.
template <class F>
PV_HD Vec3<F> glimpse(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d, const Int<F>& skip,
                      const Random<F>& random) {
  return surroundings(stage, o, d) +
         beyond_surroundings(stage, o, d, skip, Splat<F>::mask(true), random);
}

template <class F>
PV_HD Mask<F> near_objects(const Stage& stage, const Surface<F>& at) {
  Mask<F> close = Splat<F>::mask(false);
  PV_ROLLED
  for (int k = 0; k < stage.count; ++k)
    if (stage.solids[k].radius > 0) close = close | is_near(stage.solids[k], at.p);
  return close & at.there;
}

constexpr int kAround = 16;  // directions that stand for half a sphere

// What objects receive from ground and sky with no other object between. The shares of the two are
// exact; their brightness is an average over fixed directions, which shows neither noise nor bands.
template <class F>
PV_FN Vec3<F> surrounding_light(const Stage& stage, const Surface<F>& at, const Random<F>& random) {
  F x, y, low_sum(1e-6f), high_sum(1e-6f);
  random.pair(10, x, y);
  // Cells are blurred into each other, and those below the object itself kept out.
  constexpr float cell = kMapSide / kMap;
  x = at.p.x + (x - F(0.5f) + F(0.7f) * at.n.x) * F(cell);
  y = at.p.y + (y - F(0.5f) + F(0.7f) * at.n.y) * F(cell);
  Vec3<F> low = nowhere<F>(), high = nowhere<F>();
  PV_ROLLED
  for (int k = 0; k < kAround; ++k) {
    float z, turn;
    spread_point(static_cast<uint32_t>(k), z, turn);
    z += 0.5f / kAround;
    const float r = root(1.0f - z * z);
    const float dx = r * sine_of_turns(turn + 0.25f), dy = r * sine_of_turns(turn);
    const F flat = at.n.x * F(dx) + at.n.y * F(dy), up = at.n.z * F(z);
    const F below = larger(flat - up, F(0.0f)), above = larger(flat + up, F(0.0f));
    const F t = larger(at.p.z, F(0.0f)) * F(1.0f / z);
    low = low + ground_brightness(stage, x + t * F(dx), y + t * F(dy)) * below;
    low_sum += below;
    const Vec3<float> sky = sky_brightness(stage, Vec3<float>{dx, dy, z});
    high = high + Vec3<F>{F(sky.x), F(sky.y), F(sky.z)} * above;
    high_sum += above;
  }
  const F share = F(0.5f * kPi) * at.n.z;
  return low * ((F(0.5f * kPi) - share) / low_sum) + high * ((F(0.5f * kPi) + share) / high_sum);
}

// Light that reaches matt surfaces from others. Only what objects change about it is looked for,
// with `count` rays: at random or, without noise, in fixed directions.
template <class F>
PV_FN Vec3<F> bounced_light(const Stage& stage, const Surface<F>& at, int count, bool fixed,
                            const Random<F>& random) {
  const Frame<F> frame = frame_around(at.n);
  Vec3<F> sum = nowhere<F>();
  F x, y;
  if (fixed) {
    x = y = F(0.5f / static_cast<float>(count));
  } else {
    random.pair(8, x, y);
  }
  PV_ROLLED
  for (int k = 0; k < count; ++k) {
    float a, b;
    spread_point(static_cast<uint32_t>(k), a, b);
    const F first = wrapped(x + F(a)), turn = wrapped(y + F(b)), r = root(first);
    const Vec3<F> d = from_frame(frame, r * sine_of_turns(turn + F(0.25f)), r * sine_of_turns(turn),
                                 larger(root(F(1.0f) - first), F(0.001f)));
    sum = sum + beyond_surroundings(stage, at.p, d, at.id, at.object, random);
  }
  sum = sum * F(kPi / static_cast<float>(count)) +
        glow_around(at.p) * select(at.object, F(0.0f), F(kPi));
  if (!any(at.object)) return sum;
  return sum + select<F>(at.object, surrounding_light(stage, at, random), nowhere<F>());
}

}  // namespace
}  // namespace pyvqa
