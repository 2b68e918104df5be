// What the features of a pair of regions are, for host and device.
//
// Each region has F factors. A chunk of a pair's K features multiplies, for every rank, as many
// factors of the one region with those of the other and adds the ranks up:
//
//   z[k] = sum over r of left[r * size + k] * right[r * size + k]
//
// The chunks of a group are then normalised together: y = sign(z) sqrt(|z| / sum |z|), which is the
// signed square root of z divided by its own Euclidean length.
#pragma once

#include <cstdint>

#include "common/host_device.h"

#if !defined(__CUDA_ARCH__)
#include <cmath>
#endif

namespace pyvqa {

constexpr int32_t kMostChunks = 512;

struct PairChunk {
  int32_t size, rank;
  int32_t feature, factor;  // the first of its features and factors
};

struct PairGroup {
  int32_t first, end;         // its chunks
  int32_t feature, features;  // its features
  bool normalised;
};

// Passed by value to CUDA kernels.
struct PairLayout {
  int64_t features, factors;  // K, F
  int32_t group_count;
  PairGroup groups[kMostChunks];
  PairChunk chunks[kMostChunks];
};

namespace {

#if defined(__CUDA_ARCH__)
PV_HD float square_root(float x) { return sqrtf(x); }
PV_HD double square_root(double x) { return sqrt(x); }
PV_HD float size_of(float x) { return fabsf(x); }
PV_HD double size_of(double x) { return fabs(x); }
PV_HD float with_sign(float x, float sign) { return copysignf(x, sign); }
PV_HD double with_sign(double x, double sign) { return copysign(x, sign); }
#else
PV_HD float square_root(float x) { return __builtin_sqrtf(x); }
PV_HD double square_root(double x) { return __builtin_sqrt(x); }
PV_HD float size_of(float x) { return __builtin_fabsf(x); }
PV_HD double size_of(double x) { return __builtin_fabs(x); }
PV_HD float with_sign(float x, float sign) { return __builtin_copysignf(x, sign); }
PV_HD double with_sign(double x, double sign) { return __builtin_copysign(x, sign); }
#endif

// Lengths below 1e-12 count as 1e-12, and these are their squares.
template <class T>
PV_HD T least_sum() {
  return static_cast<T>(1e-24);
}

// 1 / the sum of sizes that a group is divided by; NaN stays NaN.
template <class T>
PV_HD T inverse_of_sum(T sum) {
  return T(1) / (sum < least_sum<T>() ? least_sum<T>() : sum);
}

template <class T>
PV_HD T signed_root(T z, T inverse) {
  return with_sign(square_root(size_of(z) * inverse), z);
}

// The gradient of z from that of y; `along` is the sum of y * dy over the group, or 0 where the
// group's sum is below the least and so counts as a constant. Zero has none.
template <class T>
PV_HD T root_slope(T y, T dy, T along, T inverse) {
  const T slope = (dy / size_of(y) - with_sign(T(1), y) * along) * (T(0.5) * inverse);
  return y == T(0) ? T(0) : slope;
}

template <class T>
PV_HD bool counts_as_constant(T inverse) {
  return inverse >= T(1) / least_sum<T>();
}

}  // namespace
}  // namespace pyvqa
