// What rays meet, and how it looks there.
#pragma once

#include "render/lights.h"
#include "render/render_kernel.h"
#include "render/sweep.h"

namespace pyvqa {
namespace {

constexpr float kMapSide = 20;  // its side, world units; the origin is in its middle
constexpr int kSky = 16;        // cells a side of the map of what is seen above the horizon
constexpr int kMapFloats = 3 * (kMap * kMap + kSky * kSky);  // of both, one after the other
constexpr float kGroundColor = 0.8f;

// All that rays can meet in one picture. `map` may be null while it is being drawn.
struct Stage {
  const View* view;
  const Lights* lights;
  const Solid* solids;
  int count;
  const float* map;
};

// Somewhere that a ray met.
template <class F>
struct Surface {
  Vec3<F> p, n, v;  // place, outward normal, direction to where it is seen from
  Vec3<F> brushed;  // along the grooves of metal, of any length
  Vec3<F> color;
  Int<F> id;  // -1 for the sweep
  Mask<F> there, object, metal;
  F distance;
};

template <class F>
PV_HD Vec3<F> nowhere() {
  return {F(0.0f), F(0.0f), F(0.0f)};
}

// Whether an object takes up a share of the view from a place that is worth a look.
template <class F>
PV_HD Mask<F> is_near(const Solid& s, const Vec3<F>& p) {
  const Vec3<F> apart = wide<F>(s.centre) - p;
  return dot(apart, apart) < F(24.0f * s.radius * s.radius);
}

// The nearest object along rays; object `skip` is not looked at, nor are distant ones by rays that
// do not look `everywhere`.
template <class F>
PV_FN Sight<F> nearest_object(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d,
                              const Int<F>& skip, Mask<F> everywhere) {
  Sight<F> sight = nothing_seen<F>();
  PV_ROLLED
  for (int k = 0; k < stage.count; ++k) {
    const Solid& s = stage.solids[k];
    if (!(s.radius > 0)) continue;
    const Mask<F> looked_at = everywhere | is_near(s, o);
    if (!any(looked_at)) continue;
    F t;
    const Mask<F> hit = looked_at & meets(s.kind, to_local(s, o), turned_in(s, d), t);
    const F distance = t * F(s.radius);
    const Mask<F> nearer =
        hit & (distance > F(1e-4f)) & (distance < sight.distance) & !(skip == Splat<F>::integer(k));
    sight.distance = select(nearer, distance, sight.distance);
    sight.id = select(nearer, Splat<F>::integer(k), sight.id);
  }
  return sight;
}

// Fills in what belongs to the objects that surfaces are of.
template <class F>
PV_FN void look_up_objects(const Stage& stage, Surface<F>& at) {
  at.metal = Splat<F>::mask(false);
  PV_ROLLED
  for (int k = 0; k < stage.count; ++k) {
    const Mask<F> here = at.id == Splat<F>::integer(k);
    if (!any(here)) continue;
    const Solid& s = stage.solids[k];
    at.n = select<F>(here, normal_at(s, to_local(s, at.p)), at.n);
    at.color = select<F>(here, wide<F>(s.color), at.color);
    if (s.metal == 0) continue;
    at.metal = at.metal | here;
    // Metal is brushed in circles around the object's axis.
    const Vec3<F> circle{F(s.centre[1]) - at.p.y, at.p.x - F(s.centre[0]), F(0.0f)};
    at.brushed = select<F>(here, circle, at.brushed);
  }
}

// The surface at the end of rays that see `sight`, or the sweep.
template <class F>
PV_FN Surface<F> surface_at(const Stage& stage, const Vec3<F>& o, const Vec3<F>& d,
                            const Sight<F>& sight) {
  Surface<F> at;
  const F behind = sweep_distance(o, d);
  at.object = sight.distance < behind;
  at.distance = smaller(sight.distance, behind);
  at.there = at.distance < F(1e29f);
  at.id = select(at.object, sight.id, Splat<F>::integer(-1));
  at.brushed = {F(1.0f), F(0.0f), F(0.0f)};
  at.p = o + d * select(at.there, at.distance, F(1.0f));
  at.v = nowhere<F>() - d;
  at.n = sweep_normal(at.p);
  at.color = {F(kGroundColor), F(kGroundColor), F(kGroundColor)};
  look_up_objects(stage, at);
  return at;
}

// A ball around the places that count.
struct Ball {
  float centre[3];
  float radius;
};

PV_HD Ball ball_around(bool, const Vec3<float>& p) { return {{p.x, p.y, p.z}, 0}; }

#if !defined(__CUDACC__)
inline Ball ball_around(Flags there, const Vec3<Lanes>& p) {
  alignas(64) float at[3][kLanes];
  store(p.x, at[0]);
  store(p.y, at[1]);
  store(p.z, at[2]);
  const uint32_t chosen = bits(there);
  Ball ball{};
  float square = 0;
  for (int i = 0; i < 3; ++i) {
    float low = 1e30f, high = -1e30f;
    for (int k = 0; k < kLanes; ++k) {
      if ((chosen >> k & 1) == 0) continue;
      low = at[i][k] < low ? at[i][k] : low;
      high = at[i][k] > high ? at[i][k] : high;
    }
    ball.centre[i] = 0.5f * (low + high);
    square += 0.25f * (high - low) * (high - low);
  }
  ball.radius = root(square);
  return ball;
}
#endif

}  // namespace
}  // namespace pyvqa
