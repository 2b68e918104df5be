// The colour of one ray from the camera.
#pragma once

#include "render/bounced.h"

namespace pyvqa {
namespace {

constexpr float kMirrorBlur = 0.02f;  // radians: twice the slope of the mirror's own facets

// How much work goes into one ray.
struct Effort {
  int shadows;  // rays to each light
  int bounced;  // rays to other surfaces
  int broad;    // rays of metal's broad lobe
  bool fixed;   // the rays to other surfaces have the same directions everywhere
};

// How much of an edge at 1 is passed at x, where it is blurred by `blur` to either side.
template <class F>
PV_HD F soft_edge(F x, F blur) {
  const F at = clamped((F(1.0f) + blur - x) / (F(2.0f) * blur), 0.0f, 1.0f);
  return at * at * (F(3.0f) - F(2.0f) * at);
}

// What the mirror's tail leaves to the reflection itself.
template <class F>
PV_HD F kept_core(F core) {
  const F c = core + F(kMirror);
  return F(1.0f) - F(kMirror * kMirror) / (c * c);
}

// The lamps themselves, as metal shows them that sees nothing nearer than `limit`: blurred, for
// the mirror is not perfect.
template <class F>
PV_FN Vec3<F> lamps_along(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d, F limit) {
  Vec3<F> seen = nowhere<F>();
  PV_ROLLED
  for (int k = 0; k < kLamps; ++k) {
    const Lamp& lamp = stage.lights->lamps[k];
    if (!(lamp.half > 0)) continue;
    const F facing = F(0.0f) - dot(d, wide<F>(lamp.axis));
    const Vec3<F> to = wide<F>(lamp.centre) - o;
    const F t = (F(0.0f) - dot(to, wide<F>(lamp.axis))) / larger(facing, F(1e-6f));
    const Vec3<F> off = d * t - to;
    const F inverse(1.0f / (lamp.half * lamp.half)), blur = t * F(kMirrorBlur / lamp.half);
    const F a = magnitude(dot(off, wide<F>(lamp.u))) * inverse,
            b = magnitude(dot(off, wide<F>(lamp.v))) * inverse;
    const Mask<F> met = (facing > F(1e-3f)) & (t > F(0.01f)) & (t < limit);
    const F core = kept_core(F(0.5f * lamp.half) / larger(t, F(0.01f)));
    const F share = select(met, core * soft_edge(a, blur) * soft_edge(b, blur), F(0.0f));
    seen = seen + wide<F>(lamp.radiance) * share;
  }
  const Vec3<F> off = d - wide<F>(stage.lights->sun);
  const F angle = root(dot(off, off)) * F(1.0f / kSunRadius);
  const F bright =
      select(limit > F(1e29f), soft_edge(angle, F(kMirrorBlur / kSunRadius)), F(0.0f)) *
      F(kSunPower / (kPi * kSunRadius * kSunRadius)) * kept_core(F(0.5f * kSunRadius));
  return seen + Vec3<F>{bright, bright, bright};
}

// The light that leaves matt surfaces, and the gloss on rubber.
template <class F>
PV_FN Vec3<F> matt_brightness(const Stage& stage, const Surface<F>& at, const Finish<F>& finish,
                              const Light<F>& direct, const Vec3<F>& bounced) {
  const Vec3<F> bounce = bounced * (finish.matt + finish.velvet);
  Vec3<F> out = (direct.matt + bounce) * F(1.0f / kPi);
  out = {out.x * at.color.x, out.y * at.color.y, out.z * at.color.z};
  out = out + direct.gloss;
  if (!any(at.object)) return out;
  const Vec3<F> mirrored = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
  return out + surroundings(stage, at.p, mirrored) * finish.gloss;
}

// What a mirror shows along d: real shadows on what is seen; metal seen there shows its
// surroundings. Lamps, already blurred, are looked for along `to_lamps`.
template <class F>
PV_FN Vec3<F> mirrored_brightness(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d,
                                  const Vec3<F>& to_lamps, const Int<F>& skip, Mask<F> wanted,
                                  int shadows, const Random<F>& random) {
  Sight<F> sight = nearest_object(stage, o, d, skip, Splat<F>::mask(true));
  Surface<F> at = surface_at(stage, o, d, sight);
  const Vec3<F> lamps = lamps_along(stage, o, to_lamps, at.distance);
  at.there = at.there & wanted;
  const Finish<F> finish = finish_of(at);
  const Light<F> light = direct_light(stage, at, finish, Care{1, shadows, true}, random);
  const Vec3<F> below = from_below(stage, at), glow = glow_around(at.p) * F(kPi);
  const Vec3<F> received = select<F>(at.object, below, glow);
  Vec3<F> seen = matt_brightness(stage, at, finish, light, received);
  if (any(at.metal)) {
    const Vec3<F> again = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
    const Vec3<F> around = glimpse(stage, at.p, again, at.id, random);
    const Vec3<F> lit = lamps_along(stage, at.p, again, F(1e30f));
    const Vec3<F> shown = around + lit * F(1.0f - kBroadShare) + light.gloss;
    const Vec3<F> tinted{shown.x * at.color.x, shown.y * at.color.y, shown.z * at.color.z};
    seen = select<F>(at.metal, tinted, seen);
  }
  seen = select<F>(at.there, seen, nowhere<F>());
  return seen + lamps;
}

// A microfacet normal of a rough mirror, chosen among those that are seen (Heitz's method).
template <class F>
PV_HD Vec3<F> facet(const Frame<F>& frame, const Vec3<F>& v, const Rough& rough, F a, F b) {
  const Vec3<F> local{dot(frame.u, v) * F(rough.along), dot(frame.v, v) * F(rough.across),
                      larger(dot(frame.n, v), F(0.02f))};
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
  const Vec3<F> n =
      unit(Vec3<F>{m.x * F(rough.along), m.y * F(rough.across), larger(m.z, F(1e-4f))});
  return from_frame(frame, n.x, n.y, n.z);
}

// What metal's broad lobe shows.
template <class F>
PV_FN Vec3<F> broad_brightness(const Stage& stage, const Surface<F>& at, int count,
                               const Random<F>& random) {
  const Frame<F> frame = brushed_frame(at);
  const Rough rough = brushed(kBroad);
  Vec3<F> sum = nowhere<F>();
  F x, y;
  random.pair(9, x, y);
  PV_ROLLED
  for (int k = 0; k < count; ++k) {
    float a, b;
    spread_point(static_cast<uint32_t>(k), a, b);
    const Vec3<F> m = facet(frame, at.v, rough, wrapped(x + F(a)), wrapped(y + F(b)));
    const Vec3<F> d = m * (F(2.0f) * dot(m, at.v)) - at.v;
    const F above = dot(d, at.n);
    const Vec3<F> seen = glimpse(stage, at.p, d, at.id, random);
    const F weight = select(above > F(0.0f), smith(rough, frame, d), F(0.0f));
    sum = sum + seen * weight;
  }
  return sum * F(1.0f / static_cast<float>(count));
}

template <class F>
PV_FN Vec3<F> metal_brightness(const Stage& stage, const Surface<F>& at, const Light<F>& direct,
                               const Effort& effort, const Random<F>& random) {
  const Vec3<F> exact = at.n * (F(2.0f) * dot(at.n, at.v)) - at.v;
  F a, b;
  random.pair(11, a, b);
  // The rarest, widest facets are left out: they would be bright specks.
  const Vec3<F> m = facet(brushed_frame(at), at.v, brushed(kMirror), F(0.9f) * a, b);
  const Vec3<F> tilted = m * (F(2.0f) * dot(m, at.v)) - at.v;
  const Vec3<F> d = select<F>(dot(tilted, at.n) > F(0.0f), tilted, exact);
  const Vec3<F> mirrored = mirrored_brightness(stage, at.p, d, exact, at.id, at.metal,
                                               effort.shadows < 4 ? effort.shadows : 4, random);
  const Vec3<F> broad = broad_brightness(stage, at, effort.broad, random);
  const Vec3<F> out = mirrored * F(1.0f - kBroadShare) + broad * F(kBroadShare) + direct.gloss;
  const Vec3<F> tint = at.color * F(kMetalGain);
  return {out.x * tint.x, out.y * tint.y, out.z * tint.z};
}

// The linear colour that rays from the camera along d see, given the objects they see.
template <class F>
PV_FN Vec3<F> brightness(const Stage& stage, const Vec3<F>& d, const Sight<F>& sight,
                         const Effort& effort, const Random<F>& random) {
  const Vec3<F> eye = wide<F>(stage.view->eye);
  const Surface<F> at = surface_at(stage, eye, d, sight);
  const Finish<F> finish = finish_of(at);
  const Light<F> direct = direct_light(stage, at, finish, Care{4, effort.shadows, true}, random);
  const Mask<F> gathers = (at.object | near_objects(stage, at)) & !at.metal;
  Vec3<F> bounced = glow_around(at.p) * F(kPi);
  if (any(gathers))
    bounced =
        select<F>(gathers, bounced_light(stage, at, effort.bounced, effort.fixed, random), bounced);
  Vec3<F> out = matt_brightness(stage, at, finish, direct, bounced);
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
  at.brushed = {F(1.0f), F(0.0f), F(0.0f)};
  at.id = Splat<F>::integer(-1);
  at.there = Splat<F>::mask(true);
  at.object = at.metal = Splat<F>::mask(false);
  at.distance = F(1.0f);
  const Light<F> light = direct_light(stage, at, finish_of(at), Care{1, shadows, false}, random);
  return (light.matt * F(1.0f / kPi) + glow_around(at.p)) * F(kGroundColor);
}

PV_FN Vec3<float> sky_cell(const Stage& stage, int cell) {
  const Vec3<float> eye{0, 0, 0.5f}, d = sky_direction(cell);
  const Surface<float> at = surface_at(stage, eye, d, nothing_seen<float>());
  if (!at.there) return nowhere<float>();
  const Light<float> light =
      direct_light(stage, at, finish_of(at), Care{1, 0, false}, Random<float>{0});
  return (light.matt * (1.0f / kPi) + glow_around(at.p)) * kGroundColor;
}

}  // namespace
}  // namespace pyvqa
