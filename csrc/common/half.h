// 16-bit floating point by its bits, for host and device: neither the toolkit's nor the compiler's
// half types are everywhere. Rounding is to the nearest, ties to even; NaN stays NaN.
#pragma once

#include "common/host_device.h"

#include <cstdint>
#include <cstring>

namespace pyvqa {
namespace {

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

PV_HD uint32_t float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

PV_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

PV_HD float widen(float value) { return value; }
PV_HD double widen(double value) { return value; }

PV_HD float widen(BFloat16 value) { return float_of_bits(uint32_t{value.bits} << 16); }

PV_HD float widen(Half value) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
#else
  const uint32_t sign = uint32_t{value.bits & 0x8000u} << 16, rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return float_of_bits(sign | 0x7f800000u | rest << 13);
  if (rest >= 0x0400u) return float_of_bits(sign | (rest + (112u << 10)) << 13);
  const float small = static_cast<float>(rest) * 0x1p-24f;  // below 2^-14: steps of 2^-24
  return float_of_bits(sign | float_bits(small));
#endif
}

PV_HD void narrow(float value, float& out) { out = value; }
PV_HD void narrow(double value, double& out) { out = value; }

PV_HD void narrow(float value, BFloat16& out) {
  const uint32_t bits = float_bits(value);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  const uint32_t rounded = is_nan ? bits | 0x00400000u : bits + 0x7fffu + (bits >> 16 & 1u);
  out.bits = static_cast<uint16_t>(rounded >> 16);
}

PV_HD void narrow(float value, Half& out) {
#if defined(__CUDA_ARCH__)
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
#else
  const uint32_t bits = float_bits(value), size = bits & 0x7fffffffu;
  uint32_t half;
  if (size > 0x7f800000u) {
    half = 0x7e00u | (size >> 13 & 0x3ffu);
  } else if (size >= 0x477ff000u) {
    half = 0x7c00u;  // 65520 and more round to infinity
  } else if (size < 0x38800000u) {
    half = float_bits(float_of_bits(size) + 0.5f) - 0x3f000000u;  // the addition rounds
  } else {
    half = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
  }
  out.bits = static_cast<uint16_t>(bits >> 16 & 0x8000u) | static_cast<uint16_t>(half);
#endif
}

// What values of a storage type are computed in.
template <class T>
struct Wide {
  using type = float;
};
template <>
struct Wide<double> {
  using type = double;
};

}  // namespace
}  // namespace pyvqa
