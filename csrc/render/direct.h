// Light that comes straight from the lamps, and how rubber and metal send it on.
#pragma once

#include "render/shadows.h"

namespace pyvqa {
namespace {

constexpr float kBroad = 0.2f;       // roughness of metal's broad lobe
constexpr float kBroadShare = 0.4f;  // the rest is nearly a mirror
constexpr float kBlurred = 0.46f;    // of metal as seen from a matt surface
constexpr float kGloss = 0.35f;      // roughness of rubber's gloss
constexpr float kGlossColor = 0.8f;
constexpr float kVelvet = 0.6f;

// What a surface makes of light, apart from its colour.
template <class F>
struct Finish {
  F matt;    // share of light that rubber scatters evenly; 1 for the sweep
  F velvet;  // share of rubber's velvet
  F gloss;   // share of rubber's gloss
  F rough2;  // square of metal's roughness
};

template <class F>
PV_HD Finish<F> finish_of(const Surface<F>& at, float metal_roughness) {
  const F cosine = clamped(dot(at.n, at.v), 0.0f, 1.0f);
  const F f1 = fresnel(cosine, 1.4f), f2 = fresnel(cosine, 1.2f);
  const F one(1.0f), zero(0.0f);
  return {select(at.object, (one - f1) * (one - f2), one), select(at.object, f1 * (one - f2), zero),
          select(at.object, f2 * F(kGlossColor), zero), F(metal_roughness * metal_roughness)};
}

// Light as it leaves a surface: `matt` is still to be multiplied with color / pi, `gloss` is white
// on rubber and of the metal's own colour on metal.
template <class F>
struct Light {
  Vec3<F> matt, gloss;
};

template <class F>
PV_HD F smith(F rough2, F cosine) {
  const F c2 = larger(cosine * cosine, F(1e-6f));
  return F(2.0f) / (F(1.0f) + root(F(1.0f) + rough2 * (F(1.0f) - c2) / c2));
}

// GGX reflection times the cosine of the light's angle.
template <class F>
PV_HD F metal_lobe(F rough2, F nl, F nv, F nh) {
  const F denominator = nh * nh * (rough2 - F(1.0f)) + F(1.0f);
  const F spread = rough2 / (F(kPi) * denominator * denominator);
  return spread * smith(rough2, nl) * smith(rough2, nv) / (F(4.0f) * larger(nv, F(0.02f)));
}

// Beckmann reflection times the cosine of the light's angle.
template <class F>
PV_HD F rubber_gloss(F nv, F nh) {
  const F c2 = larger(nh * nh, F(1e-4f));
  const F spread = exponential((c2 - F(1.0f)) / (c2 * F(kGloss * kGloss))) /
                   (F(kPi * kGloss * kGloss) * c2 * c2);
  return spread / (F(4.0f) * larger(nv, F(0.05f)));
}

// Ashikhmin's velvet times the cosine of the light's angle, times pi.
template <class F>
PV_HD F velvet(F nl, F nv, F nh, F vh) {
  const F sine2 = larger(F(1.0f) - nh * nh, F(1e-5f));
  const F spread = exponential(nh * nh / (sine2 * F(-kVelvet * kVelvet))) *
                   F(1.0f / (kVelvet * kVelvet)) / (sine2 * sine2);
  const F ratio = nh / larger(vh, F(1e-4f));
  const F shadow = smaller(F(1.0f), smaller(F(2.0f) * ratio * nv, F(2.0f) * ratio * nl));
  return F(0.25f) * spread * shadow / larger(nv, F(0.02f));
}

// Adds light of strength `e` from direction w.
template <class F>
PV_HD void send_on(const Surface<F>& at, const Finish<F>& finish, const Vec3<F>& w, F e,
                   bool glossy, F& matt, F& gloss) {
  const F nl = larger(dot(at.n, w), F(0.0f));
  const Mask<F> rubber = at.object & !at.metal;
  F even = finish.matt * nl, shiny(0.0f);
  if (glossy && any(at.object)) {
    const F nv = larger(dot(at.n, at.v), F(0.0f));
    const Vec3<F> h = unit(w + at.v);
    const F nh = larger(dot(at.n, h), F(0.0f)), vh = larger(dot(at.v, h), F(0.0f));
    const Mask<F> lit = nl > F(0.0f);
    if (any(at.metal & lit))
      shiny = select(at.metal & lit, metal_lobe(finish.rough2, nl, nv, nh), shiny);
    if (any(rubber & lit)) {
      shiny = select(rubber & lit, finish.gloss * rubber_gloss(nv, nh), shiny);
      even = even + select(rubber & lit, finish.velvet * velvet(nl, nv, nh, vh), F(0.0f));
    }
  }
  matt += e * select(at.metal, F(0.0f), even);
  gloss += e * shiny;
}

// Adds the light of a lamp, summed over `points` places on it, before shadows.
template <class F>
PV_FN void lamp_light(const Surface<F>& at, const Finish<F>& finish, const Lamp& lamp, int points,
                      bool glossy, F& matt, F& gloss) {
  const float out = points == 1 ? 0 : 0.57735f, share = 1.0f / static_cast<float>(points);
  for (int k = 0; k < points; ++k) {
    const float a = (k & 1) != 0 ? out : -out, b = (k & 2) != 0 ? out : -out;
    const Vec3<F> place{F(lamp.centre[0] + a * lamp.u[0] + b * lamp.v[0]),
                        F(lamp.centre[1] + a * lamp.u[1] + b * lamp.v[1]),
                        F(lamp.centre[2] + a * lamp.u[2] + b * lamp.v[2])};
    const Vec3<F> to = place - at.p;
    const F square = larger(dot(to, to), F(1e-4f));
    const Vec3<F> w = to * (F(1.0f) / root(square));
    const F facing = larger(F(0.0f) - dot(w, wide<F>(lamp.axis)), F(0.0f));
    send_on(at, finish, w, F(share) * facing / square, glossy, matt, gloss);
  }
}

// How carefully light is gathered.
struct Care {
  int points;   // on each lamp: 1 or 4
  int shadows;  // rays to each light; 0 for no shadows
  bool glossy;
};

// All light that reaches surfaces straight from the lamps and the sun.
template <class F>
PV_FN Light<F> direct_light(const Stage& stage, const Surface<F>& at, const Finish<F>& finish,
                            const Care& care, const Random<F>& random) {
  Light<F> light{nowhere<F>(), nowhere<F>()};
  const Ball ball = ball_around(at.there, at.p);
  for (int which = 0; which <= kSun; ++which) {
    F matt(0.0f), gloss(0.0f);
    if (which == kSun) {
      send_on(at, finish, wide<F>(stage.lights->sun), F(kSunPower), care.glossy, matt, gloss);
    } else {
      lamp_light(at, finish, stage.lights->lamps[which], care.points, care.glossy, matt, gloss);
    }
    F open(1.0f);
    if (care.shadows > 0 && any(matt + gloss > F(0.0f)))
      open = seen_share(stage, at, ball, which, random, care.shadows);
    const Vec3<F> power = which == kSun ? Vec3<F>{F(1.0f), F(1.0f), F(1.0f)}
                                        : wide<F>(stage.lights->lamps[which].power);
    light.matt = light.matt + power * (matt * open);
    light.gloss = light.gloss + power * (gloss * open);
  }
  return light;
}

}  // namespace
}  // namespace pyvqa
