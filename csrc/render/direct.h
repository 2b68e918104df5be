// Light that comes straight from the lamps, and how rubber and metal send it on.
#pragma once

#include "render/shadows.h"

namespace pyvqa {
namespace {

constexpr float kBroad = 0.2f;       // roughness of metal's broad lobe
constexpr float kBroadShare = 0.4f;  // the rest is nearly a mirror
constexpr float kMirror = 0.01f;     // roughness of the near-mirror
constexpr float kMetalGain = 1.05f;  // read off path-traced pictures
constexpr float kBlurred = 0.46f;    // of metal as seen from a matt surface
constexpr float kGloss = 0.35f;      // roughness of rubber's gloss
constexpr float kGlossColor = 0.8f;
constexpr float kVelvet = 0.6f;

// Roughness along the grooves of brushed metal and across them.
struct Rough {
  float along, across;
};

PV_HD Rough brushed(float roughness) { return {roughness * 0.75f, roughness / 0.75f}; }

template <class F>
PV_HD Frame<F> brushed_frame(const Surface<F>& at) {
  const Vec3<F> across = unit(cross(at.n, at.brushed) + at.n * F(1e-6f));
  return {cross(across, at.n), across, at.n};
}

// What a surface makes of light, apart from its colour.
template <class F>
struct Finish {
  F matt;          // share of light that rubber scatters evenly; 1 for the sweep
  F velvet;        // share of rubber's velvet
  F gloss;         // share of rubber's gloss
  Rough rough;     // of metal's broad lobe
  float broad;     // its share; the rest is nearly a mirror
  Frame<F> frame;  // along and across metal's grooves
};

template <class F>
PV_HD Finish<F> finish_of(const Surface<F>& at) {
  const F cosine = clamped(dot(at.n, at.v), 0.0f, 1.0f);
  const F f1 = fresnel(cosine, 1.4f), f2 = fresnel(cosine, 1.2f);
  const F one(1.0f), zero(0.0f);
  return {select(at.object, (one - f1) * (one - f2), one),
          select(at.object, f1 * (one - f2), zero),
          select(at.object, f2 * F(kGlossColor), zero),
          brushed(kBroad),
          kBroadShare,
          brushed_frame(at)};
}

// As matt surfaces see it: metal blurred, rubber without gloss.
template <class F>
PV_HD Finish<F> plain_finish(const Surface<F>& at) {
  Finish<F> finish{F(0.94f), F(0.0f), F(0.0f), brushed(kBlurred), 1.0f, {}};
  if (any(at.metal)) finish.frame = brushed_frame(at);
  return finish;
}

// Light as it leaves a surface: `matt` is still to be multiplied with color / pi, `gloss` is white
// on rubber and of the metal's own colour on metal.
template <class F>
struct Light {
  Vec3<F> matt, gloss;
};

// The share of a rough mirror's facets that is seen from w.
template <class F>
PV_HD F smith(const Rough& rough, const Frame<F>& frame, const Vec3<F>& w) {
  const F x = dot(frame.u, w) * F(rough.along), y = dot(frame.v, w) * F(rough.across),
          z = dot(frame.n, w);
  const F z2 = larger(z * z, F(1e-5f));
  return F(2.0f) / (F(1.0f) + root(F(1.0f) + (x * x + y * y) / z2));
}

// GGX reflection from w to v with half vector h, times the cosine of the light's angle.
template <class F>
PV_HD F metal_lobe(const Finish<F>& finish, const Vec3<F>& w, const Vec3<F>& v, const Vec3<F>& h) {
  const Frame<F>& f = finish.frame;
  const F x = dot(f.u, h) * F(1.0f / finish.rough.along),
          y = dot(f.v, h) * F(1.0f / finish.rough.across), z = dot(f.n, h);
  const F sum = x * x + y * y + z * z;
  const F spread = F(1.0f / (kPi * finish.rough.along * finish.rough.across)) / (sum * sum);
  return spread * smith(finish.rough, f, w) * smith(finish.rough, f, v) /
         (F(4.0f) * larger(dot(f.n, v), F(0.02f)));
}

// The near-mirror's faint light far from the reflection of a light of angular radius 2 `core`,
// times the cosine of the light's angle. The reflection itself is what a ray meets.
template <class F>
PV_HD F mirror_tail(F nv, F nh, F core) {
  const F cosine2 = larger(nh * nh, F(1e-4f));
  const F c = core + F(kMirror), sum = (F(1.0f) - cosine2) / cosine2 + c * c;
  return F(kMirror * kMirror / kPi) / (sum * sum * F(4.0f) * larger(nv, F(0.02f)));
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

// Adds light of strength `e` from direction w, from a light of angular radius 2 `core`.
template <class F>
PV_HD void send_on(const Surface<F>& at, const Finish<F>& finish, const Vec3<F>& w, F e, F core,
                   bool glossy, F& matt, F& gloss) {
  const F nl = larger(dot(at.n, w), F(0.0f));
  const Mask<F> rubber = at.object & !at.metal;
  F even = finish.matt * nl, shiny(0.0f);
  const Mask<F> lit = nl > F(0.0f);
  const Mask<F> brushed_lit = at.metal & lit, rubber_lit = rubber & lit;
  const bool on_rubber = glossy && any(rubber_lit);
  if (on_rubber || any(brushed_lit)) {
    const F nv = larger(dot(at.n, at.v), F(0.0f));
    const Vec3<F> h = unit(w + at.v);
    const F nh = larger(dot(at.n, h), F(0.0f)), vh = larger(dot(at.v, h), F(0.0f));
    if (any(brushed_lit)) {
      F lobes = F(finish.broad) * metal_lobe(finish, w, at.v, h);
      if (finish.broad < 1.0f) lobes = lobes + F(1.0f - finish.broad) * mirror_tail(nv, nh, core);
      shiny = select(brushed_lit, lobes, shiny);
    }
    if (on_rubber) {
      shiny = select(rubber_lit, finish.gloss * rubber_gloss(nv, nh), shiny);
      even = even + select(rubber_lit, finish.velvet * velvet(nl, nv, nh, vh), F(0.0f));
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
  PV_ROLLED
  for (int k = 0; k < points; ++k) {
    const float a = (k & 1) != 0 ? out : -out, b = (k & 2) != 0 ? out : -out;
    const Vec3<F> place{F(lamp.centre[0] + a * lamp.u[0] + b * lamp.v[0]),
                        F(lamp.centre[1] + a * lamp.u[1] + b * lamp.v[1]),
                        F(lamp.centre[2] + a * lamp.u[2] + b * lamp.v[2])};
    const Vec3<F> to = place - at.p;
    const F square = larger(dot(to, to), F(1e-4f));
    const Vec3<F> w = to * (F(1.0f) / root(square));
    const F facing = larger(F(0.0f) - dot(w, wide<F>(lamp.axis)), F(0.0f));
    send_on(at, finish, w, F(share) * facing / square, F(0.5f * lamp.half) / root(square), glossy,
            matt, gloss);
  }
}

// How carefully light is gathered.
struct Care {
  int points;   // on each lamp: 1 or 4
  int shadows;  // rays to each light; 0 for no shadows
  bool glossy;  // with rubber's gloss and velvet
};

// All light that reaches surfaces straight from the lamps and the sun.
template <class F>
PV_FN Light<F> direct_light(const Stage& stage, const Surface<F>& at, const Finish<F>& finish,
                            const Care& care, const Random<F>& random) {
  Light<F> light{nowhere<F>(), nowhere<F>()};
  const Ball ball = ball_around(at.there, at.p);
  PV_ROLLED
  for (int which = 0; which <= kSun; ++which) {
    F matt(0.0f), gloss(0.0f);
    if (which == kSun) {
      send_on(at, finish, wide<F>(stage.lights->sun), F(kSunPower), F(0.5f * kSunRadius),
              care.glossy, matt, gloss);
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
