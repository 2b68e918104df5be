// Sixteen rays side by side, or one: the maths of the renderer is written once for a number type F
// that is `Lanes` on a CPU and `float` on a device, and gives the same bits with both, on every
// instruction set.
#pragma once

#include "render/registers.h"

namespace pyvqa {
namespace {

template <class F>
using Mask = typename Of<F>::Mask;
template <class F>
using Int = typename Of<F>::Int;
template <class F>
using Word = typename Of<F>::Word;

// The same value in every lane.
template <class F>
struct Splat {
  PV_HD static int32_t integer(int32_t a) { return a; }
  PV_HD static uint32_t word(uint32_t a) { return a; }
  PV_HD static bool mask(bool a) { return a; }
};
#if !defined(__CUDACC__)
template <>
struct Splat<Lanes> {
  PV_HD static Ints integer(int32_t a) { return ints(a); }
  PV_HD static Words word(uint32_t a) { return words(a); }
  PV_HD static Flags mask(bool a) { return flags(a); }
};
#endif
PV_HD uint32_t as_words(float a) {
  union {
    float f;
    uint32_t u;
  } both{a};
  return both.u;
}
PV_HD uint32_t as_words(int32_t a) { return static_cast<uint32_t>(a); }
PV_HD int32_t as_int(uint32_t a) { return static_cast<int32_t>(a); }

// The second where either is not a number.
template <class F>
PV_HD F smaller(F a, F b) {
  return select(a < b, a, b);
}
template <class F>
PV_HD F larger(F a, F b) {
  return select(a > b, a, b);
}
template <class F>
PV_HD F magnitude(F a) {
  return select(a < F(0.0f), F(0.0f) - a, a);
}
template <class F>
PV_HD F clamped(F a, float low, float high) {
  return smaller(larger(a, F(low)), F(high));
}

// ---- vectors

template <class F>
struct Vec3 {
  F x, y, z;
};

template <class F>
PV_HD Vec3<F> operator+(const Vec3<F>& a, const Vec3<F>& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}
template <class F>
PV_HD Vec3<F> operator-(const Vec3<F>& a, const Vec3<F>& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}
template <class F>
PV_HD Vec3<F> operator*(const Vec3<F>& a, F s) {
  return {a.x * s, a.y * s, a.z * s};
}
template <class F>
PV_HD F dot(const Vec3<F>& a, const Vec3<F>& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
template <class F>
PV_HD Vec3<F> cross(const Vec3<F>& a, const Vec3<F>& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <class F>
PV_HD Vec3<F> unit(const Vec3<F>& a) {
  return a * (F(1.0f) / root(larger(dot(a, a), F(1e-30f))));
}
template <class F>
PV_HD Vec3<F> select(Mask<F> m, const Vec3<F>& a, const Vec3<F>& b) {
  return {select(m, a.x, b.x), select(m, a.y, b.y), select(m, a.z, b.z)};
}
template <class F>
PV_HD Vec3<F> wide(const float* a) {
  return {F(a[0]), F(a[1]), F(a[2])};
}

}  // namespace
}  // namespace pyvqa
