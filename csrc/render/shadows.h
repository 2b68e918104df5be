// How much of each light a place sees past the objects.
#pragma once

#include "render/surface.h"

namespace pyvqa {
namespace {

constexpr int kMostRays = 16;  // to one light at a time
constexpr int kRounds = 4;

// A light as shadow rays meet it: a square at a place, or one in the sky whose rays are parallel.
struct Target {
  float centre[3], u[3], v[3];
  float half;
  bool parallel;
};

PV_HD Target target_of(const Lights& lights, int which) {
  Target t;
  t.parallel = which == kSun;
  if (!t.parallel) {
    const Lamp& lamp = lights.lamps[which];
    for (int i = 0; i < 3; ++i) {
      t.centre[i] = lamp.centre[i];
      t.u[i] = lamp.u[i];
      t.v[i] = lamp.v[i];
    }
    t.half = lamp.half * 1.4143f;
    return t;
  }
  for (int i = 0; i < 3; ++i) {
    t.centre[i] = kFar * lights.sun[i];
    t.u[i] = kFar * lights.sun_u[i];
    t.v[i] = kFar * lights.sun_v[i];
  }
  t.half = kFar * kSunRadius * 1.3f;
  return t;
}

// Whether an object can stand between any place of a ball and any place of a light. One that
// cannot casts no shadow there: leaving it out changes nothing.
PV_HD bool may_shade(const Solid& s, const Ball& from, const Target& to) {
  float along[3], off[3], length = 0, reach = 0;
  for (int i = 0; i < 3; ++i) {
    along[i] = to.parallel ? to.centre[i] : to.centre[i] - from.centre[i];
    off[i] = s.centre[i] - from.centre[i];
    length += along[i] * along[i];
    reach += along[i] * off[i];
  }
  const float at = reach <= 0 ? 0 : reach >= length ? 1 : reach / length;
  float apart = 0;
  for (int i = 0; i < 3; ++i) {
    const float d = off[i] - at * along[i];
    apart += d * d;
  }
  // The two ends span a cone: what is off its axis is nearer to its side than straight across.
  const float grows = to.parallel ? to.half : to.half - from.radius;
  const float level = 1 - grows * grows / length;
  if (!(level > 0.01f)) return true;
  const float wide = (from.radius + at * grows + s.beyond) / root(level) + 0.02f;
  return apart <= wide * wide;
}

// Whether the solid stands between o and o + d (local coordinates).
template <int K, class F>
PV_HD Mask<F> blocks(const Vec3<F>& o, const Vec3<F>& d) {
  const F a = dot(d, d), b = dot(o, d), square = dot(o, o);
  if constexpr (K == sphere) {
    const F c = square - F(kSphere * kSphere);
    return (b < F(0.0f)) & (F(0.0f) - b < a) & (b * b >= a * c);
  } else {
    const F closest = clamped((F(0.0f) - b) / a, 0.0f, 1.0f);
    const F apart = square + closest * (F(2.0f) * b + closest * a);
    Mask<F> hit = apart <= F(beyond(K) * beyond(K));
    if (!any(hit)) return hit;
    F at(0.0f), leave(1.0f);
    hit = hit & enters<K>(o, d, at, leave);
    if (!any(hit)) return hit;
    return approach<K>(o, d, hit, at, leave, 6);
  }
}

template <class F>
PV_HD Vec3<F> towards(const Target& t, const Vec3<F>& o, F a, F b) {
  const Vec3<F> at{F(t.centre[0]) + a * F(t.u[0]) + b * F(t.v[0]),
                   F(t.centre[1]) + a * F(t.u[1]) + b * F(t.v[1]),
                   F(t.centre[2]) + a * F(t.u[2]) + b * F(t.v[2])};
  return t.parallel ? at : at - o;
}

// A target in the local coordinates of a solid.
PV_HD Target seen_from(const Solid& s, const Target& t) {
  Target local;
  local.parallel = t.parallel;
  float from[3];
  for (int i = 0; i < 3; ++i) from[i] = t.centre[i] - (t.parallel ? 0 : s.centre[i]);
  for (int i = 0; i < 2; ++i) {
    const float c = s.cosine * s.inverse, n = (i == 0 ? s.sine : -s.sine) * s.inverse;
    const int j = 1 - i;
    local.centre[i] = c * from[i] + n * from[j];
    local.u[i] = c * t.u[i] + n * t.u[j];
    local.v[i] = c * t.v[i] + n * t.v[j];
  }
  local.centre[2] = from[2] * s.inverse;
  local.u[2] = t.u[2] * s.inverse;
  local.v[2] = t.v[2] * s.inverse;
  local.half = t.half * s.inverse;
  return local;
}

// Rays from one place to all of one light.
template <class F>
struct Rays {
  F a[kMostRays], b[kMostRays];  // where on the light
  F open[kMostRays];             // 1 until something stands in the way
};

// `count` rays of the sequence from `first` on, all moved by x and y.
template <class F>
PV_FN void start_rays(Rays<F>& rays, F x, F y, int first, int count) {
  for (int s = 0; s < count; ++s) {
    float a, b;
    spread_point(static_cast<uint32_t>(first + s), a, b);
    rays.a[s] = F(2.0f) * wrapped(x + F(a)) - F(1.0f);
    rays.b[s] = F(2.0f) * wrapped(y + F(b)) - F(1.0f);
    rays.open[s] = F(1.0f);
  }
}

template <int K, class F>
PV_FN void block_rays(Rays<F>& rays, int count, const Vec3<F>& o, const Target& local,
                      Mask<F> other) {
  for (int s = 0; s < count; ++s) {
    const Vec3<F> d = towards(local, o, rays.a[s], rays.b[s]);
    rays.open[s] = select(other & blocks<K>(o, d), F(0.0f), rays.open[s]);
  }
}

// Stops the rays that meet an object; false where no object can stand in their way.
template <class F>
PV_FN bool block_by_objects(const Stage& stage, const Surface<F>& at, const Ball& ball,
                            const Target& target, Rays<F>& rays, int count) {
  bool some = false;
  for (int k = 0; k < stage.count; ++k) {
    const Solid& s = stage.solids[k];
    if (!(s.radius > 0) || !may_shade(s, ball, target)) continue;
    const Mask<F> other = at.there & !(at.id == Splat<F>::integer(k));
    if (!any(other)) continue;
    some = true;
    const Vec3<F> o = to_local(s, at.p);
    const Target local = seen_from(s, target);
    if (s.kind == cube) {
      block_rays<cube>(rays, count, o, local, other);
    } else if (s.kind == cylinder) {
      block_rays<cylinder>(rays, count, o, local, other);
    } else {
      block_rays<sphere>(rays, count, o, local, other);
    }
  }
  return some;
}

// The share of a light that each place sees past the objects. Where the first rays disagree, in
// the soft edge of a shadow, three times as many more follow.
template <class F>
PV_FN F seen_share(const Stage& stage, const Surface<F>& at, const Ball& ball, int which,
                   const Random<F>& random, int count) {
  const Target target = target_of(*stage.lights, which);
  const int rounds = count == kMostRays ? kRounds : 1;
  F x, y, open(0.0f), all(0.0f);
  random.pair(static_cast<uint32_t>(which), x, y);
  Mask<F> wanted = at.there;
  Rays<F> rays;
  PV_ROLLED
  for (int round = 0; round < rounds && any(wanted); ++round) {
    start_rays(rays, x, y, round * count, count);
    if (!block_by_objects(stage, at, ball, target, rays, count)) return F(1.0f);
    F some(0.0f), most(0.0f);
    for (int s = 0; s < count; ++s) {
      const Vec3<F> d = towards(target, at.p, rays.a[s], rays.b[s]);
      const F above = select(dot(d, at.n) > F(0.0f), F(1.0f), F(0.0f));
      some += above * rays.open[s];
      most += above;
    }
    open = select(wanted, open + some, open);
    all = select(wanted, all + most, all);
    wanted = wanted & (open > F(0.0f)) & (open < all);
  }
  return select(all > F(0.0f), open / larger(all, F(1.0f)), F(1.0f));
}

}  // namespace
}  // namespace pyvqa
