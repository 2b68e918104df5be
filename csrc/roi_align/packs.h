// Registers of one instruction set for the kernels: a Pack<T> loads kCount values of a
// storage type as kParts vectors of the type they are computed in, and
// puts them together again to be stored. Only for files that are compiled
// once per instruction set.
#pragma once

#include "common/half.h"

#if defined(PV_ISA_avx2) || defined(PV_ISA_avx512)
#include <immintrin.h>
#endif

#include <cstdint>

namespace pyvqa {
namespace {

#if defined(PV_ISA_avx512)
#define PV_VECTOR_BYTES 64
constexpr int kBlockParts = 8;  // vectors summed side by side: half of the registers hold sums
#elif defined(PV_ISA_avx2)
#define PV_VECTOR_BYTES 32
constexpr int kBlockParts = 4;
#else
#define PV_VECTOR_BYTES 16
constexpr int kBlockParts = 4;
#endif

typedef float FloatVector __attribute__((vector_size(PV_VECTOR_BYTES)));
typedef double DoubleVector __attribute__((vector_size(PV_VECTOR_BYTES)));
typedef uint32_t WordVector __attribute__((vector_size(PV_VECTOR_BYTES)));

template <class V>
PV_HD V load_vector(const void* from) {
  V value;
  memcpy(&value, from, sizeof value);
  return value;
}

template <class V>
PV_HD void store_vector(void* to, const V& value) {
  memcpy(to, &value, sizeof value);
}

// Stores past the cache, which a large result would only sweep; `to` is aligned.
template <class V>
PV_HD void stream_vector(void* to, const V& value) {
#if defined(PV_ISA_avx512)
  _mm512_stream_si512(static_cast<__m512i*>(to), (__m512i)value);
#elif defined(PV_ISA_avx2)
  _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)value);
#else
  store_vector(to, value);
#endif
}

// What was streamed is there for other threads afterwards.
PV_HD void finish_streaming() {
#if defined(PV_ISA_avx512) || defined(PV_ISA_avx2)
  _mm_sfence();
#endif
}

// The bits of one kind of vector as another.
template <class To, class From>
PV_HD To as_bits(const From& value) {
  static_assert(sizeof(To) == sizeof(From));
  return (To)value;
}

// From and to 16 bits, to the nearest. Instructions by name: gcc thinks that its intrinsics might
// throw, and an exception table needs a weak symbol.
#if defined(PV_ISA_avx512)
PV_HD __m512 widened(__m256i halves) {
  __m512 values;
  asm("vcvtph2ps %1, %0" : "=v"(values) : "v"(halves));
  return values;
}
PV_HD __m256i narrowed(__m512 values) {
  __m256i halves;
  asm("vcvtps2ph $0, %1, %0" : "=v"(halves) : "v"(values));
  return halves;
}
#elif defined(PV_ISA_avx2)
PV_HD __m256 widened(__m128i halves) {
  __m256 values;
  asm("vcvtph2ps %1, %0" : "=x"(values) : "x"(halves));
  return values;
}
PV_HD __m128i narrowed(__m256 values) {
  __m128i halves;
  asm("vcvtps2ph $0, %1, %0" : "=x"(halves) : "x"(values));
  return halves;
}
#endif

template <class T>
struct Pack;

template <>
struct Pack<float> {
  using Vector = FloatVector;
  static constexpr int kParts = 1, kCount = PV_VECTOR_BYTES / 4;
  PV_HD static void load(const float* from, Vector* to) { to[0] = load_vector<Vector>(from); }
  PV_HD static Vector stored(const Vector* from) { return from[0]; }
};

template <>
struct Pack<double> {
  using Vector = DoubleVector;
  static constexpr int kParts = 1, kCount = PV_VECTOR_BYTES / 8;
  PV_HD static void load(const double* from, Vector* to) { to[0] = load_vector<Vector>(from); }
  PV_HD static Vector stored(const Vector* from) { return from[0]; }
};

// Even and odd places apart: widening is then a shift or a mask, and no values change lanes.
template <>
struct Pack<BFloat16> {
  using Vector = FloatVector;
  static constexpr int kParts = 2, kCount = PV_VECTOR_BYTES / 2;

  PV_HD static void load(const BFloat16* from, Vector* to) {
    const WordVector pairs = load_vector<WordVector>(from);
    to[0] = as_bits<Vector>(pairs << 16);
    to[1] = as_bits<Vector>(pairs & 0xffff0000u);
  }

  PV_HD static WordVector rounded(const Vector& value) {
    const WordVector bits = as_bits<WordVector>(value);
    const WordVector is_nan = (WordVector)((bits & 0x7fffffffu) > 0x7f800000u);
    const WordVector near = bits + 0x7fffu + (bits >> 16 & 1u);
    return (is_nan & (bits | 0x00400000u)) | (~is_nan & near);
  }

  PV_HD static WordVector stored(const Vector* from) {
    return rounded(from[0]) >> 16 | (rounded(from[1]) & 0xffff0000u);
  }
};

template <>
struct Pack<Half> {
  using Vector = FloatVector;
  static constexpr int kParts = 2, kCount = PV_VECTOR_BYTES / 2, kLanes = kCount / 2;

#if defined(PV_ISA_avx512)
  PV_HD static void load(const Half* from, Vector* to) {
    to[0] = (Vector)widened(load_vector<__m256i>(from));
    to[1] = (Vector)widened(load_vector<__m256i>(from + kLanes));
  }
  PV_HD static WordVector stored(const Vector* from) {
    const __m256i halves[2] = {narrowed((__m512)from[0]), narrowed((__m512)from[1])};
    return load_vector<WordVector>(halves);
  }
#elif defined(PV_ISA_avx2)
  PV_HD static void load(const Half* from, Vector* to) {
    to[0] = (Vector)widened(load_vector<__m128i>(from));
    to[1] = (Vector)widened(load_vector<__m128i>(from + kLanes));
  }
  PV_HD static WordVector stored(const Vector* from) {
    const __m128i halves[2] = {narrowed((__m256)from[0]), narrowed((__m256)from[1])};
    return load_vector<WordVector>(halves);
  }
#else
  PV_HD static void load(const Half* from, Vector* to) {
    float values[kCount];
    for (int i = 0; i < kCount; ++i) values[i] = widen(from[i]);
    to[0] = load_vector<Vector>(values);
    to[1] = load_vector<Vector>(values + kLanes);
  }
  PV_HD static WordVector stored(const Vector* from) {
    Half values[kCount];
    for (int i = 0; i < kCount; ++i) narrow(from[i / kLanes][i % kLanes], values[i]);
    return load_vector<WordVector>(values);
  }
#endif
};

}  // namespace
}  // namespace pyvqa
