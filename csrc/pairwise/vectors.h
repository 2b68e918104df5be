// Registers of one instruction set. Only for files that are compiled once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

#if defined(PV_ISA_avx512)
#include <immintrin.h>
#define PV_PAIR_BYTES 64
#elif defined(PV_ISA_avx2)
#define PV_PAIR_BYTES 32
#else
#define PV_PAIR_BYTES 16
#endif

namespace pyvqa {
namespace {

// The lanes of a register as numbers, and as the results of their comparisons.
template <class T>
struct Simd;
template <>
struct Simd<float> {
  using Lane = int32_t;
  typedef float Vector __attribute__((vector_size(PV_PAIR_BYTES)));
  typedef int32_t Index __attribute__((vector_size(PV_PAIR_BYTES)));
};
template <>
struct Simd<double> {
  using Lane = int64_t;
  typedef double Vector __attribute__((vector_size(PV_PAIR_BYTES)));
  typedef int64_t Index __attribute__((vector_size(PV_PAIR_BYTES)));
};
template <class T>
using Lane = typename Simd<T>::Lane;
template <class T>
constexpr int kLanes = static_cast<int>(PV_PAIR_BYTES / sizeof(T));

template <class T>
PV_HD typename Simd<T>::Vector load_lanes(const T* from) {
  typename Simd<T>::Vector value;
  memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
PV_HD void store_lanes(T* to, const typename Simd<T>::Vector& value) {
  memcpy(to, &value, sizeof value);
}

// Reads `count` lanes, fewer than there are; the others are 0.
template <class T>
PV_HD typename Simd<T>::Vector load_first_lanes(const T* from, int32_t count) {
#if defined(PV_ISA_avx512)
  if constexpr (sizeof(T) == 4) {
    return (typename Simd<T>::Vector)_mm512_maskz_loadu_ps(
        static_cast<__mmask16>((1u << count) - 1u), from);
  }
#endif
  typename Simd<T>::Vector value{};
  for (int32_t i = 0; i < count; ++i) value[i] = from[i];
  return value;
}

// All lanes the same. x - 0 is x, which compilers know; of x + 0 they would have to make 0 of -0.
template <class T>
PV_HD typename Simd<T>::Vector in_all_lanes(T value) {
  return value - typename Simd<T>::Vector{};
}

// The sum of the lanes, two halves at a time.
template <class T>
PV_HD T sum_of_lanes(const typename Simd<T>::Vector& value) {
  T lanes[kLanes<T>];
  memcpy(lanes, &value, sizeof lanes);
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// to[i] += scale * from[i]
template <class T>
PV_HD void add_scaled(T* __restrict to, T scale, const T* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += scale * from[i];
}

// to[i] += a[i] * b[i]
template <class T>
PV_HD void add_products(T* __restrict to, const T* __restrict a, const T* __restrict b,
                        int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += a[i] * b[i];
}

}  // namespace
}  // namespace pyvqa
