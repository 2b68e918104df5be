// Arithmetic whose results are the same bits on every instruction set and on a device.
//
// A product that feeds a sum must be rounded first: device compilers would fuse the two (host files
// are compiled with -ffp-contract=off). Integers wrap instead of overflowing.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace pyvqa {
namespace {

#if defined(__CUDA_ARCH__)
PV_HD float times(float a, float b) { return __fmul_rn(a, b); }
PV_HD double times(double a, double b) { return __dmul_rn(a, b); }
PV_HD float plus(float a, float b) { return __fadd_rn(a, b); }
PV_HD double plus(double a, double b) { return __dadd_rn(a, b); }
#else
PV_HD float times(float a, float b) { return a * b; }
PV_HD double times(double a, double b) { return a * b; }
PV_HD float plus(float a, float b) { return a + b; }
PV_HD double plus(double a, double b) { return a + b; }
#endif
PV_HD float minus(float a, float b) { return a - b; }
PV_HD double minus(double a, double b) { return a - b; }

PV_HD int64_t times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
PV_HD int64_t plus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
PV_HD int64_t minus(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}

// Quotients: of integers as of floats, which is how torch divides them.
PV_HD float quotient(float a, float b) { return a / b; }
PV_HD double quotient(double a, double b) { return a / b; }
PV_HD float quotient(int64_t a, int64_t b) { return static_cast<float>(a) / static_cast<float>(b); }

// As std::max and std::min order them, NaN included: the first where neither is larger.
template <class T>
PV_HD T larger(T a, T b) {
  return a < b ? b : a;
}
template <class T>
PV_HD T smaller(T a, T b) {
  return b < a ? b : a;
}
// max(0, x) that keeps NaN.
template <class T>
PV_HD T positive(T x) {
  return T(0) > x ? T(0) : x;
}

// What a side counts on top of the difference of its ends: adding -0.0 changes no number, not even
// the sign of a zero.
template <class T>
PV_HD T side_excess(bool inclusive) {
  return inclusive ? T(1) : -T(0);
}

template <class T>
PV_HD bool is_nan(T x) {
  return x != x;
}

}  // namespace
}  // namespace pyvqa
