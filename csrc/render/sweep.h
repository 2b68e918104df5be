// The sweep behind the objects: level ground that bends up into a wall, one profile moved sideways.
//
// What is above the profile is convex, so a ray from above leaves it through the first of the
// profile's tangents that it crosses.
#pragma once

#include "render/functions.h"
#include "render/scene.h"

namespace pyvqa {
namespace {

constexpr int kTangents = 30;
constexpr int kTilts = 85;
constexpr float kFirstTilt = -14.5f, kTiltsPerUnit = 2.0f;

// Tangents of the profile, (x, z) . (a, b) = c with the inside where it is larger.
PV_HD const float (*sweep_tangents())[3] {
  static constexpr float tangents[kTangents][3] = {{0.0f, 1.0f, 0.0f},
                                                   {-0.00461f, 0.99999f, 0.06942f},
                                                   {-0.00534f, 0.99999f, 0.07944f},
                                                   {-0.00650f, 0.99998f, 0.09376f},
                                                   {-0.01026f, 0.99995f, 0.13549f},
                                                   {-0.01719f, 0.99985f, 0.20454f},
                                                   {-0.02159f, 0.99977f, 0.24367f},
                                                   {-0.03085f, 0.99952f, 0.31671f},
                                                   {-0.03908f, 0.99924f, 0.37404f},
                                                   {-0.09442f, 0.99553f, 0.67192f},
                                                   {-0.15913f, 0.98726f, 0.91346f},
                                                   {-0.20142f, 0.97951f, 1.03013f},
                                                   {-0.25276f, 0.96753f, 1.14063f},
                                                   {-0.31329f, 0.94966f, 1.23663f},
                                                   {-0.38223f, 0.92407f, 1.31004f},
                                                   {-0.45890f, 0.88849f, 1.33938f},
                                                   {-0.54031f, 0.84147f, 1.32597f},
                                                   {-0.62090f, 0.78389f, 1.25799f},
                                                   {-0.69599f, 0.71805f, 1.13385f},
                                                   {-0.76269f, 0.64676f, 0.96142f},
                                                   {-0.81916f, 0.57356f, 0.75223f},
                                                   {-0.86501f, 0.50176f, 0.51289f},
                                                   {-0.90098f, 0.43385f, 0.25994f},
                                                   {-0.92816f, 0.37217f, 0.00102f},
                                                   {-0.94780f, 0.31887f, -0.24456f},
                                                   {-0.96156f, 0.27459f, -0.47211f},
                                                   {-0.97812f, 0.20803f, -0.87402f},
                                                   {-0.98684f, 0.16169f, -1.22071f},
                                                   {-0.99298f, 0.11829f, -1.63364f},
                                                   {-0.99693f, 0.07829f, -2.25030f}};
  return tangents;
}

// Sine and cosine of the slope at places with x + z = -14.5, -14, ...
PV_HD const float* sweep_sines() {
  static constexpr float sines[kTilts] = {
      0.00300f, 0.00350f, 0.00410f, 0.00490f, 0.00570f, 0.00690f, 0.00820f, 0.00980f, 0.01190f,
      0.01390f, 0.01680f, 0.01970f, 0.02340f, 0.02740f, 0.03229f, 0.03769f, 0.04459f, 0.05208f,
      0.06256f, 0.07433f, 0.08928f, 0.10709f, 0.12725f, 0.15161f, 0.18060f, 0.21423f, 0.25312f,
      0.30048f, 0.35396f, 0.41350f, 0.47828f, 0.54585f, 0.61312f, 0.67665f, 0.73434f, 0.78463f,
      0.82731f, 0.86256f, 0.89025f, 0.91276f, 0.93084f, 0.94431f, 0.95445f, 0.96259f, 0.96854f,
      0.97337f, 0.97725f, 0.98025f, 0.98286f, 0.98485f, 0.98666f, 0.98803f, 0.98929f, 0.99026f,
      0.99112f, 0.99185f, 0.99243f, 0.99300f, 0.99343f, 0.99385f, 0.99420f, 0.99448f, 0.99477f,
      0.99498f, 0.99515f, 0.99533f, 0.99546f, 0.99558f, 0.99569f, 0.99578f, 0.99587f, 0.99596f,
      0.99605f, 0.99613f, 0.99622f, 0.99630f, 0.99638f, 0.99646f, 0.99653f, 0.99661f, 0.99668f,
      0.99675f, 0.99683f, 0.99689f, 0.99693f};
  return sines;
}
PV_HD const float* sweep_cosines() {
  static constexpr float cosines[kTilts] = {
      1.00000f, 0.99999f, 0.99999f, 0.99999f, 0.99998f, 0.99998f, 0.99997f, 0.99995f, 0.99993f,
      0.99990f, 0.99986f, 0.99981f, 0.99973f, 0.99962f, 0.99948f, 0.99929f, 0.99901f, 0.99864f,
      0.99804f, 0.99723f, 0.99601f, 0.99425f, 0.99187f, 0.98844f, 0.98356f, 0.97678f, 0.96744f,
      0.95379f, 0.93526f, 0.91050f, 0.87821f, 0.83788f, 0.78999f, 0.73631f, 0.67878f, 0.61996f,
      0.56175f, 0.50596f, 0.45547f, 0.40849f, 0.36543f, 0.32905f, 0.29838f, 0.27097f, 0.24885f,
      0.22924f, 0.21207f, 0.19778f, 0.18434f, 0.17342f, 0.16277f, 0.15428f, 0.14597f, 0.13924f,
      0.13300f, 0.12745f, 0.12279f, 0.11812f, 0.11445f, 0.11077f, 0.10759f, 0.10490f, 0.10212f,
      0.10003f, 0.09834f, 0.09655f, 0.09515f, 0.09396f, 0.09276f, 0.09177f, 0.09077f, 0.08978f,
      0.08878f, 0.08788f, 0.08689f, 0.08599f, 0.08499f, 0.08410f, 0.08320f, 0.08230f, 0.08141f,
      0.08051f, 0.07961f, 0.07881f, 0.07832f};
  return cosines;
}

// A place or a direction in the sweep's own axes: along its profile and along its sides.
template <class F>
PV_HD F along_profile(const Vec3<F>& d) {
  return F(0.429204f) * d.y - F(0.903208f) * d.x;
}
template <class F>
PV_HD F along_side(const Vec3<F>& d) {
  return F(0.0f) - F(0.429204f) * d.x - F(0.903208f) * d.y;
}
constexpr float kProfileOrigin = -14.00935f, kSideOrigin = -26.58263f;  // of the world's origin

// Where rays meet the sweep: huge where they leave the scene.
template <class F>
PV_HD F sweep_distance(const Vec3<F>& o, const Vec3<F>& d) {
  const float (*tangents)[3] = sweep_tangents();
  const F x = along_profile(o) + F(kProfileOrigin), dx = along_profile(d);
  F nearest(0.0f);  // the inverse of the distance
  for (int k = 0; k < kTangents; ++k) {
    const F a(tangents[k][0]), b(tangents[k][1]);
    const F inside = larger(a * x + b * o.z - F(tangents[k][2]), F(1e-4f));
    nearest = larger(nearest, F(0.0f) - (a * dx + b * d.z) / inside);
  }
  const F t = F(1.0f) / larger(nearest, F(1e-9f));
  const F height = o.z + t * d.z, along = x + t * dx;
  const F side = along_side(o) + F(kSideOrigin) + t * along_side(d);
  const Mask<F> there = (nearest > F(1e-6f)) & (height < F(23.21f)) & (along > F(-23.56f)) &
                        (side < F(0.0f)) & (side > F(-56.485f));
  return select(there, t, F(1e30f));
}

template <class F>
PV_HD Vec3<F> sweep_normal(const Vec3<F>& p) {
  const F place = along_profile(p) + F(kProfileOrigin) + p.z;
  const F at = clamped((place - F(kFirstTilt)) * F(kTiltsPerUnit), 0.0f, kTilts - 1.01f);
  const Int<F> low = to_int(at), high = low + Splat<F>::integer(1);
  const F share = at - to_float(low);
  const F s0 = lookup(sweep_sines(), low), s1 = lookup(sweep_sines(), high);
  const F c0 = lookup(sweep_cosines(), low), c1 = lookup(sweep_cosines(), high);
  const F sine = s0 + share * (s1 - s0), cosine = c0 + share * (c1 - c0);
  return unit(Vec3<F>{F(0.903208f) * sine, F(-0.429204f) * sine, cosine});
}

// What the sweep receives from its own other parts, as a brightness: read off path-traced pictures,
// where it depends on little but the place along the profile.
template <class F>
PV_HD F sweep_glow(const Vec3<F>& p) {
  static constexpr float glow[16] = {0.00765f, 0.00902f, 0.01235f, 0.01667f, 0.01902f, 0.02196f,
                                     0.02216f, 0.01882f, 0.0153f,  0.01255f, 0.0102f,  0.00863f,
                                     0.00745f, 0.00667f, 0.00588f, 0.0051f};
  const F place = along_profile(p) + F(kProfileOrigin) + p.z;
  const F at = clamped((place + F(20.0f)) * F(1.0f / 3.0f), 0.0f, 14.99f);
  const Int<F> low = to_int(at);
  const F share = at - to_float(low);
  const F g0 = lookup(glow, low), g1 = lookup(glow, low + Splat<F>::integer(1));
  return g0 + share * (g1 - g0);
}

}  // namespace
}  // namespace pyvqa
