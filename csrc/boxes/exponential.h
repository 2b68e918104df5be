// exp and log for boxes. The float ones are plain arithmetic, so that loops over them become
// vectors and every instruction set and device gives the same bits; within 2 units in the last
// place. The double ones are the system's.
#pragma once

#include <math.h>

#include <cstdint>

#include "common/arithmetic.h"

namespace pyvqa {
namespace {

PV_HD float bits_to_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}
PV_HD uint32_t float_to_bits(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  return __builtin_bit_cast(uint32_t, x);
#endif
}

PV_HD float two_to_the(int n) { return bits_to_float(static_cast<uint32_t>(n + 127) << 23); }

// x * a + b with both steps rounded.
PV_HD float step(float x, float a, float b) { return plus(times(x, a), b); }

// 0 from -104 on, infinity from 89 on; NaN stays.
PV_HD float exponential(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kHigh = 0.693359375f, kLow = -2.12194440e-4f;  // ln 2 in two parts
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: a sum with it rounds to an integer
  const float low = x < -104.0f ? -104.0f : x;
  const float within = low > 89.0f ? 89.0f : low;
  const float shifted = step(within, kLog2E, kMagic);
  const float whole = minus(shifted, kMagic);
  const float r = minus(minus(within, times(whole, kHigh)), times(whole, kLow));
  float sum = 1.0f / 5040;
  sum = step(r, sum, 1.0f / 720);
  sum = step(r, sum, 1.0f / 120);
  sum = step(r, sum, 1.0f / 24);
  sum = step(r, sum, 1.0f / 6);
  sum = step(r, sum, 0.5f);
  sum = plus(step(times(r, r), sum, r), 1.0f);
  // In two steps, because neither 2^-150 nor 2^129 is a float. NaN takes any n along.
  const int n = static_cast<int>(float_to_bits(shifted) - float_to_bits(kMagic));
  const int half = n < -160 || n > 160 ? 0 : n / 2;
  const int rest = n < -160 || n > 160 ? 0 : n - half;
  return times(times(sum, two_to_the(half)), two_to_the(rest));
}
PV_HD double exponential(double x) { return ::exp(x); }

// -infinity at 0, NaN below.
PV_HD float logarithm(float x) {
  constexpr float kHigh = 0.693359375f, kLow = -2.12194440e-4f;
  constexpr float kSmallest = 1.17549435e-38f;
  const bool tiny = x < kSmallest;  // denormals are scaled up first
  const uint32_t bits = float_to_bits(tiny ? times(x, 8388608.0f) : x);
  // Exponent and mantissa so that the mantissa lies in [sqrt(1/2), sqrt(2)).
  const uint32_t moved = bits - 0x3f3504f3u;
  const int exponent = static_cast<int>(moved) >> 23;
  const float f = minus(bits_to_float((moved & 0x7fffffu) + 0x3f3504f3u), 1.0f);
  const float e = static_cast<float>(exponent - (tiny ? 23 : 0));
  const float s = f / plus(2.0f, f), z = times(s, s);
  float series = 2.0f / 11;
  series = step(z, series, 2.0f / 9);
  series = step(z, series, 2.0f / 7);
  series = step(z, series, 2.0f / 5);
  series = step(z, series, 2.0f / 3);
  // log(1 + f) = 2 s + s z series, written as f - s (f - z series), which loses less.
  const float within = minus(f, times(s, minus(f, times(z, series))));
  const float result = plus(times(e, kHigh), plus(within, times(e, kLow)));
  const float infinity = bits_to_float(0x7f800000u);
  const float special = x == 0.0f ? -infinity : x > 0.0f ? x : x - x + bits_to_float(0x7fc00000u);
  return x > 0.0f && x < infinity ? result : special;
}
PV_HD double logarithm(double x) { return ::log(x); }

}  // namespace
}  // namespace pyvqa
