// The colour of one ray from the camera.
#pragma once

#include "render/bounced.h"

namespace pyvqa {
namespace {

// How much work goes into one ray.
struct Effort {
  int shadows;  // rays to each light
  int bounced;  // rays to other surfaces
  int broad;    // rays of metal's broad lobe
};

// The lamps themselves, as a mirror shows them that sees nothing nearer than `limit`.
template <class F>
PV_FN Vec3<F> lamps_along(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d, F limit) {
  Vec3<F> seen = nowhere<F>();
  for (int k = 0; k < kLamps; ++k) {
    const Lamp& lamp = stage.lights->lamps[k];
    const F facing = F(0.0f) - dot(d, wide<F>(lamp.axis));
    const Vec3<F> to = wide<F>(lamp.centre) - o;
    const F t = (F(0.0f) - dot(to, wide<F>(lamp.axis))) / larger(facing, F(1e-6f));
    const Vec3<F> off = d * t - to;
    const F inverse(1.0f / larger(lamp.half * lamp.half, 1e-6f));
    const F a = magnitude(dot(off, wide<F>(lamp.u))) * inverse,
            b = magnitude(dot(off, wide<F>(lamp.v))) * inverse;
    const Mask<F> met =
        (facing > F(1e-5f)) & (t > F(0.0f)) & (t < limit) & (a < F(1.0f)) & (b < F(1.0f));
    seen = select<F>(met, wide<F>(lamp.radiance), seen);
  }
  const F disc = F(1.0f) - F(0.5f * kSunRadius * kSunRadius);
  const Mask<F> sun = (limit > F(1e29f)) & (dot(d, wide<F>(stage.lights->sun)) > disc);
  const F bright(kSunPower / (kPi * kSunRadius * kSunRadius));
  return select<F>(sun, Vec3<F>{bright, bright, bright}, seen);
}

// The light that leaves matt surfaces, and the gloss on rubber.
template <class F>
PV_FN Vec3<F> matt_brightness(const Surface<F>& at, const Finish<F>& finish,
                              const Light<F>& direct, const Vec3<F>& bounced) {
  const Vec3<F> bounce = bounced * (finish.matt + finish.velvet);
  const F even = select(at.object, F(1.0f), F(kSweepBounce));
  Vec3<F> out = (direct.matt * even + bounce) * F(1.0f / kPi);
  out = {out.x * at.color.x, out.y * at.color.y, out.z * at.color.z};
  return out + direct.gloss;
}

// What a mirror shows: real shadows on what is seen; metal seen there shows its surroundings.
template <class F>
PV_FN Vec3<F> mirrored_brightness(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d,
                                  const Int<F>& skip, Mask<F> wanted, int shadows,
                                  const Random<F>& random) {
  Sight<F> sight = nearest_object(stage, o, d, skip);
  Surface<F> at = surface_at(stage, o, d, sight);
  const Vec3<F> lamps = lamps_along(stage, o, d, at.distance);
  at.there = at.there & wanted;
  const Finish<F> finish = finish_of(at, kBroad);
  const Light<F> light = direct_light(stage, at, finish, Care{1, shadows, true}, random);
  const Vec3<F> below = from_below(stage, at);
  Vec3<F> seen =
      matt_brightness(at, finish, light, select<F>(at.object, below, nowhere<F>()));
  if (any(at.metal)) {
    const Vec3<F> again = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
    const Vec3<F> shown = glimpse(stage, at.p, again, at.id, at.metal, random) +
                          lamps_along(stage, at.p, again, F(1e30f)) * F(1.0f - kBroadShare) +
                          light.gloss * F(kBroadShare);
    seen = select<F>(at.metal, {shown.x * at.color.x, shown.y * at.color.y, shown.z * at.color.z},
                     seen);
  }
  seen = select<F>(at.there, seen, nowhere<F>());
  const Mask<F> bright = lamps.x + lamps.y + lamps.z > F(0.0f);
  return select<F>(bright, lamps, seen);
}

// A microfacet normal of a rough mirror, chosen among those that are seen (Heitz's method).
template <class F>
PV_HD Vec3<F> facet(const Frame<F>& frame, const Vec3<F>& v, float rough, F a, F b) {
  const F r(rough);
  const Vec3<F> local{dot(frame.u, v) * r, dot(frame.v, v) * r, larger(dot(frame.n, v), F(0.02f))};
  const Vec3<F> view = unit(local);
  const F flat = view.x * view.x + view.y * view.y;
  const F inverse = F(1.0f) / root(larger(flat, F(1e-10f)));
  const Mask<F> tilted = flat > F(1e-9f);
  const Vec3<F> t1 = select<F>(tilted, {F(0.0f) - view.y * inverse, view.x * inverse, F(0.0f)},
                               {F(1.0f), F(0.0f), F(0.0f)});
  const Vec3<F> t2 = cross(view, t1);
  const F size = root(a), p1 = size * sine_of_turns(b + F(0.25f));
  const F share = F(0.5f) * (F(1.0f) + view.z);
  const F p2 = (F(1.0f) - share) * root(larger(F(1.0f) - p1 * p1, F(0.0f))) +
               share * size * sine_of_turns(b);
  const F p3 = root(larger(F(1.0f) - p1 * p1 - p2 * p2, F(0.0f)));
  const Vec3<F> m = t1 * p1 + t2 * p2 + view * p3;
  const Vec3<F> n = unit(Vec3<F>{m.x * r, m.y * r, larger(m.z, F(1e-4f))});
  return from_frame(frame, n.x, n.y, n.z);
}

// What metal's broad lobe shows.
template <class F>
PV_FN Vec3<F> broad_brightness(const Stage& stage, const Surface<F>& at, int count,
                               const Random<F>& random) {
  const Frame<F> frame = frame_around(at.n);
  Vec3<F> sum = nowhere<F>();
  F x, y;
  random.pair(9, x, y);
  for (int k = 0; k < count; ++k) {
    float a, b;
    spread_point(static_cast<uint32_t>(k), a, b);
    const Vec3<F> m = facet(frame, at.v, kBroad, wrapped(x + F(a)), wrapped(y + F(b)));
    const Vec3<F> d = m * (F(2.0f) * dot(m, at.v)) - at.v;
    const F above = dot(d, at.n);
    const Vec3<F> seen = glimpse(stage, at.p, d, at.id, at.metal, random);
    const F weight =
        select(above > F(0.0f), smith(F(kBroad * kBroad), larger(above, F(0.01f))), F(0.0f));
    sum = sum + seen * weight;
  }
  return sum * F(1.0f / static_cast<float>(count));
}

template <class F>
PV_FN Vec3<F> metal_brightness(const Stage& stage, const Surface<F>& at, const Light<F>& direct,
                               const Effort& effort, const Random<F>& random) {
  const Vec3<F> d = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
  const Vec3<F> mirrored = mirrored_brightness(stage, at.p, d, at.id, at.metal,
                                               effort.shadows < 4 ? effort.shadows : 4, random);
  const Vec3<F> broad = broad_brightness(stage, at, effort.broad, random);
  const Vec3<F> out = mirrored * F(1.0f - kBroadShare) + (broad + direct.gloss) * F(kBroadShare);
  return {out.x * at.color.x, out.y * at.color.y, out.z * at.color.z};
}

// The linear colour that rays from the camera along d see, given the objects they see.
template <class F>
PV_FN Vec3<F> brightness(const Stage& stage, const Vec3<F>& d, const Sight<F>& sight,
                         const Effort& effort, const Random<F>& random) {
  const Vec3<F> eye = wide<F>(stage.view->eye);
  const Surface<F> at = surface_at(stage, eye, d, sight);
  const Finish<F> finish = finish_of(at, kBroad);
  const Light<F> direct = direct_light(stage, at, finish, Care{4, effort.shadows, true}, random);
  const Mask<F> gathers = (at.object | near_objects(stage, at)) & !at.metal;
  Vec3<F> bounced = nowhere<F>();
  if (any(gathers))
    bounced = select<F>(gathers, bounced_light(stage, at, effort.bounced, random), bounced);
  Vec3<F> out = matt_brightness(at, finish, direct, bounced);
  if (any(at.metal))
    out = select<F>(at.metal, metal_brightness(stage, at, direct, effort, random), out);
  return select<F>(at.there, out, nowhere<F>());
}

// ---- the maps

constexpr int kMapShadows = 4;  // rays to each light from a cell
PV_HD uint32_t map_key(int cell) { return static_cast<uint32_t>(cell) * 0x9e3779b9u; }

// The brightness of cells of the ground's map.
template <class F>
PV_FN Vec3<F> ground_cell(const Stage& stage, F column, F row, int shadows,
                          const Random<F>& random) {
  const F scale(kMapSide / kMap), middle(0.5f * kMap - 0.5f);
  Surface<F> at;
  at.p = {(column - middle) * scale, (row - middle) * scale, F(0.005f)};
  at.n = at.v = {F(0.0f), F(0.0f), F(1.0f)};
  at.color = {F(kGroundColor), F(kGroundColor), F(kGroundColor)};
  at.id = Splat<F>::integer(-1);
  at.there = Splat<F>::mask(true);
  at.object = at.metal = Splat<F>::mask(false);
  at.distance = F(1.0f);
  const Light<F> light =
      direct_light(stage, at, finish_of(at, kBroad), Care{1, shadows, false}, random);
  return light.matt * F(kSweepBounce * kGroundColor / kPi);
}

PV_FN Vec3<float> sky_cell(const Stage& stage, int cell) {
  const Vec3<float> eye{0, 0, 0.5f}, d = sky_direction(cell);
  const Surface<float> at = surface_at(stage, eye, d, nothing_seen<float>());
  if (!at.there) return nowhere<float>();
  const Light<float> light =
      direct_light(stage, at, finish_of(at, kBroad), Care{1, 0, false}, Random<float>{0});
  return light.matt * (kSweepBounce * kGroundColor / kPi);
}

}  // namespace
}  // namespace pyvqa
