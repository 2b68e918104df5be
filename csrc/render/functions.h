// Functions of numbers that the light needs, from correctly rounded operations alone, and random
// numbers that depend on nothing but a counter.
#pragma once

#include "render/lanes.h"

namespace pyvqa {
namespace {

// 2^x to about 1e-7.
template <class F>
PV_HD F exp2(F x) {
  const F bounded = clamped(x, -126.0f, 126.0f);
  const Int<F> whole = to_int(bounded + select(bounded < F(0.0f), F(-0.5f), F(0.5f)));
  const F f = bounded - to_float(whole);
  F p(1.5403530e-4f);
  p = p * f + F(1.3333558e-3f);
  p = p * f + F(9.6181291e-3f);
  p = p * f + F(5.5504109e-2f);
  p = p * f + F(2.4022651e-1f);
  p = p * f + F(6.9314718e-1f);
  p = p * f + F(1.0f);
  return p * as_float((whole + Splat<F>::integer(127)) * Splat<F>::integer(1 << 23));
}

// log2 of a positive number.
template <class F>
PV_HD F log2(F x) {
  const Word<F> word = as_words(larger(x, F(1e-30f)));
  const F exponent = to_float(as_int(word >> 23)) - F(127.0f);
  const F m = as_float(as_int((word & Splat<F>::word(0x7fffffu)) | Splat<F>::word(0x3f800000u)));
  const F r = (m - F(1.0f)) / (m + F(1.0f)), r2 = r * r;
  F p(1.0f / 11);
  p = p * r2 + F(1.0f / 9);
  p = p * r2 + F(1.0f / 7);
  p = p * r2 + F(1.0f / 5);
  p = p * r2 + F(1.0f / 3);
  p = p * r2 + F(1.0f);
  return exponent + F(2.8853901f) * r * p;
}

template <class F>
PV_HD F exponential(F x) {
  return exp2(x * F(1.44269504f));
}

// Sine of a number of turns in [0, 1.25].
template <class F>
PV_HD F sine_of_turns(F turns) {
  const F wrapped = select(turns >= F(1.0f), turns - F(1.0f), turns);
  const F half = F(2.0f) * wrapped - F(1.0f);  // the sine is that of -half, in half turns
  const F size = magnitude(half), a = select(size > F(0.5f), F(1.0f) - size, size);
  const F x = a * F(3.14159265f), x2 = x * x;
  F p(2.7557319e-6f);
  p = p * x2 - F(1.9841270e-4f);
  p = p * x2 + F(8.3333333e-3f);
  p = p * x2 - F(1.6666667e-1f);
  const F sine = x + x * x2 * p;
  return select(half > F(0.0f), F(0.0f) - sine, sine);
}

// The share of light that a smooth boundary of this refractive index reflects.
template <class F>
PV_HD F fresnel(F cosine, float index) {
  const F g = root(cosine * cosine + F(index * index - 1.0f));
  const F a = (g - cosine) / (g + cosine);
  const F b = (cosine * (g + cosine) - F(1.0f)) / (cosine * (g - cosine) + F(1.0f));
  return F(0.5f) * a * a * (F(1.0f) + b * b);
}

// Two directions that make a frame with a unit vector.
template <class F>
struct Frame {
  Vec3<F> u, v, n;
};

template <class F>
PV_HD Frame<F> frame_around(const Vec3<F>& n) {
  const F sign = select(n.z < F(0.0f), F(-1.0f), F(1.0f));
  const F a = F(-1.0f) / (sign + n.z), b = n.x * n.y * a;
  return {{F(1.0f) + sign * n.x * n.x * a, sign * b, F(0.0f) - sign * n.x},
          {b, sign + n.y * n.y * a, F(0.0f) - n.y},
          n};
}
template <class F>
PV_HD Vec3<F> from_frame(const Frame<F>& f, F x, F y, F z) {
  return f.u * x + f.v * y + f.n * z;
}

// ---- random numbers

template <class W>
PV_HD W scrambled(W x, W first, W second) {
  x = (x ^ (x >> 16)) * first;
  x = (x ^ (x >> 15)) * second;
  return x ^ (x >> 16);
}
template <class F>
PV_HD Word<F> scrambled(Word<F> x) {
  return scrambled(x, Splat<F>::word(0x7feb352du), Splat<F>::word(0x846ca68bu));
}

// A stream of random pairs: one per purpose and sample.
template <class F>
struct Random {
  Word<F> key;

  PV_HD void pair(uint32_t purpose, F& a, F& b) const {
    const Word<F> word = scrambled<F>(key + Splat<F>::word(purpose * 0x9e3779b9u));
    a = to_float(as_int(word >> 16)) * F(1.0f / 65536);
    b = to_float(as_int(word & Splat<F>::word(0xffffu))) * F(1.0f / 65536);
  }
};

template <class F>
PV_HD F wrapped(F a) {
  return select(a >= F(1.0f), a - F(1.0f), a);
}

// Point i of the (0, 2) sequence: every 4^k of them in a row fill a grid of 2^k by 2^k.
PV_HD void spread_point(uint32_t i, float& a, float& b) {
  uint32_t x = 0, y = 0, column = 0x80000000u;
  for (uint32_t k = 0, left = i; left != 0; ++k, left >>= 1, column ^= column >> 1) {
    if ((left & 1) == 0) continue;
    x |= 0x80000000u >> k;
    y ^= column;
  }
  a = static_cast<float>(x >> 8) * (1.0f / 16777216);
  b = static_cast<float>(y >> 8) * (1.0f / 16777216);
}

}  // namespace
}  // namespace pyvqa
