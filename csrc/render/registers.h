// The numbers of one ray, and of sixteen side by side in the registers of each instruction set:
// every operation is one correctly rounded IEEE operation per lane.
#pragma once

#include <cstdint>

#include "common/host_device.h"

#if defined(__x86_64__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

// A function that is too large to be copied to everywhere it is called from.
#if defined(__CUDACC__)
#define PV_FN __host__ __device__ inline
#else
#define PV_FN inline
#endif

// One operation on lanes. The compiler takes many vector instructions for calls that may throw; a
// build without optimisation would prepare for that, and share symbols in doing so.
#if defined(__OPTIMIZE__)
#define PV_LANE PV_HD
#else
#define PV_LANE inline __attribute__((nothrow))
#endif

// Before a loop that a device would otherwise unroll at the price of its registers.
#if defined(__CUDACC__)
#define PV_ROLLED _Pragma("unroll 1")
#else
#define PV_ROLLED
#endif

namespace pyvqa {
namespace {

constexpr int kLanes = 16;

// ---- one ray

PV_HD float root(float a) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(a);
#else
  return __builtin_sqrtf(a);
#endif
}
PV_HD float select(bool m, float a, float b) { return m ? a : b; }
PV_HD int32_t select(bool m, int32_t a, int32_t b) { return m ? a : b; }
PV_HD bool any(bool m) { return m; }
PV_HD uint32_t bits(bool m) { return m ? 1 : 0; }
PV_HD float to_float(int32_t a) { return static_cast<float>(a); }
PV_HD int32_t to_int(float a) { return static_cast<int32_t>(a); }  // of a value known to fit
PV_HD float as_float(int32_t a) {
  union {
    int32_t i;
    float f;
  } bits{a};
  return bits.f;
}
PV_HD float lookup(const float* table, int32_t at) { return table[at]; }

template <class F>
struct Of;
template <>
struct Of<float> {
  using Mask = bool;
  using Int = int32_t;
  using Word = uint32_t;
};

// ---- sixteen rays

#if !defined(__CUDACC__)
#if defined(PV_ISA_avx512)

// Every intrinsic is called in its zero-masked form: the plain ones read an undefined register,
// which the compiler warns of.
constexpr __mmask16 kAll = 0xffff;

struct Flags {
  __mmask16 v;
};
struct Ints {
  __m512i v;
};
struct Words {
  __m512i v;
};
struct Lanes {
  __m512 v;
  Lanes() = default;
  PV_LANE Lanes(__m512 x) : v(x) {}
  PV_LANE Lanes(float x) : v(_mm512_set1_ps(x)) {}
};

PV_LANE Lanes lanes(__m512 x) {
  Lanes a;
  a.v = x;
  return a;
}
PV_LANE Lanes operator+(Lanes a, Lanes b) { return lanes(_mm512_add_ps(a.v, b.v)); }
PV_LANE Lanes operator-(Lanes a, Lanes b) { return lanes(_mm512_sub_ps(a.v, b.v)); }
PV_LANE Lanes operator*(Lanes a, Lanes b) { return lanes(_mm512_mul_ps(a.v, b.v)); }
PV_LANE Lanes operator/(Lanes a, Lanes b) { return lanes(_mm512_div_ps(a.v, b.v)); }
PV_LANE Lanes root(Lanes a) { return lanes(_mm512_maskz_sqrt_ps(kAll, a.v)); }
PV_LANE Flags operator<(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
PV_LANE Flags operator<=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
PV_LANE Flags operator==(Ints a, Ints b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
PV_LANE Flags operator&(Flags a, Flags b) { return {static_cast<__mmask16>(a.v & b.v)}; }
PV_LANE Flags operator|(Flags a, Flags b) { return {static_cast<__mmask16>(a.v | b.v)}; }
PV_LANE Flags operator!(Flags a) { return {static_cast<__mmask16>(~a.v)}; }
PV_LANE Lanes select(Flags m, Lanes a, Lanes b) {
  return lanes(_mm512_mask_blend_ps(m.v, b.v, a.v));
}
PV_LANE Ints select(Flags m, Ints a, Ints b) { return {_mm512_mask_blend_epi32(m.v, b.v, a.v)}; }
PV_LANE bool any(Flags m) { return m.v != 0; }
PV_LANE Flags flags(bool on) { return {static_cast<__mmask16>(on ? 0xffff : 0)}; }
PV_LANE Ints ints(int32_t a) { return {_mm512_set1_epi32(a)}; }
PV_LANE Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
PV_LANE Ints operator*(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
PV_LANE Words words(uint32_t a) { return {_mm512_set1_epi32(static_cast<int32_t>(a))}; }
PV_LANE Words operator+(Words a, Words b) { return {_mm512_add_epi32(a.v, b.v)}; }
PV_LANE Words operator*(Words a, Words b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
PV_LANE Words operator^(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
PV_LANE Words operator&(Words a, Words b) { return {_mm512_and_si512(a.v, b.v)}; }
PV_LANE Words operator|(Words a, Words b) { return {_mm512_or_si512(a.v, b.v)}; }
PV_LANE Words as_words(Lanes a) { return {_mm512_castps_si512(a.v)}; }
PV_LANE uint32_t bits(Flags m) { return m.v; }
PV_LANE Words operator>>(Words a, int by) {
  return {_mm512_maskz_srli_epi32(kAll, a.v, static_cast<unsigned>(by))};
}
PV_LANE Lanes to_float(Ints a) { return lanes(_mm512_maskz_cvtepi32_ps(kAll, a.v)); }
PV_LANE Ints to_int(Lanes a) { return {_mm512_maskz_cvttps_epi32(kAll, a.v)}; }
PV_LANE Lanes as_float(Ints a) { return lanes(_mm512_castsi512_ps(a.v)); }
PV_LANE Ints as_int(Words a) { return {a.v}; }
PV_LANE Words as_words(Ints a) { return {a.v}; }
PV_LANE Lanes load(const float* from) { return lanes(_mm512_loadu_ps(from)); }
PV_LANE Ints load(const int32_t* from) { return {_mm512_loadu_si512(from)}; }
PV_LANE Words load(const uint32_t* from) { return {_mm512_loadu_si512(from)}; }
PV_LANE void store(Lanes a, float* to) { _mm512_storeu_ps(to, a.v); }
PV_LANE void store(Ints a, int32_t* to) { _mm512_storeu_si512(to, a.v); }
PV_LANE Lanes lookup(const float* table, Ints at) {
  return lanes(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), kAll, at.v, table, 4));
}
PV_LANE Lanes smaller(Lanes a, Lanes b) { return lanes(_mm512_maskz_min_ps(kAll, a.v, b.v)); }
PV_LANE Lanes larger(Lanes a, Lanes b) { return lanes(_mm512_maskz_max_ps(kAll, a.v, b.v)); }
PV_LANE Lanes magnitude(Lanes a) {
  return lanes(_mm512_and_ps(a.v, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff))));
}

#else

// Registers of the width that the instruction set has, as many as it takes.
#if defined(PV_ISA_avx2)
#define PV_REGISTER 32
#else
#define PV_REGISTER 16
#endif
typedef float FloatVector __attribute__((vector_size(PV_REGISTER)));
typedef int32_t IntVector __attribute__((vector_size(PV_REGISTER)));
typedef uint32_t WordVector __attribute__((vector_size(PV_REGISTER)));
constexpr int kParts = 64 / PV_REGISTER, kPart = PV_REGISTER / 4;
#define PV_PARTS for (int p = 0; p < kParts; ++p)

struct Flags {
  IntVector v[kParts];
};
struct Ints {
  IntVector v[kParts];
};
struct Words {
  WordVector v[kParts];
};
struct Lanes {
  FloatVector v[kParts];
  Lanes() = default;
  PV_LANE Lanes(float x) { PV_PARTS v[p] = x - FloatVector{}; }
};

PV_LANE Lanes operator+(Lanes a, Lanes b) {
  Lanes r;
  PV_PARTS r.v[p] = a.v[p] + b.v[p];
  return r;
}
PV_LANE Lanes operator-(Lanes a, Lanes b) {
  Lanes r;
  PV_PARTS r.v[p] = a.v[p] - b.v[p];
  return r;
}
PV_LANE Lanes operator*(Lanes a, Lanes b) {
  Lanes r;
  PV_PARTS r.v[p] = a.v[p] * b.v[p];
  return r;
}
PV_LANE Lanes operator/(Lanes a, Lanes b) {
  Lanes r;
  PV_PARTS r.v[p] = a.v[p] / b.v[p];
  return r;
}
PV_LANE Lanes root(Lanes a) {
#if defined(PV_ISA_avx2)
  PV_PARTS a.v[p] = static_cast<FloatVector>(_mm256_sqrt_ps(static_cast<__m256>(a.v[p])));
#elif defined(__SSE2__)
  PV_PARTS a.v[p] = static_cast<FloatVector>(_mm_sqrt_ps(static_cast<__m128>(a.v[p])));
#else
  PV_PARTS for (int k = 0; k < kPart; ++k) a.v[p][k] = __builtin_sqrtf(a.v[p][k]);
#endif
  return a;
}
PV_LANE Flags operator<(Lanes a, Lanes b) {
  Flags r;
  PV_PARTS r.v[p] = a.v[p] < b.v[p];
  return r;
}
PV_LANE Flags operator<=(Lanes a, Lanes b) {
  Flags r;
  PV_PARTS r.v[p] = a.v[p] <= b.v[p];
  return r;
}
PV_LANE Flags operator==(Ints a, Ints b) {
  Flags r;
  PV_PARTS r.v[p] = a.v[p] == b.v[p];
  return r;
}
PV_LANE Flags operator&(Flags a, Flags b) {
  Flags r;
  PV_PARTS r.v[p] = a.v[p] & b.v[p];
  return r;
}
PV_LANE Flags operator|(Flags a, Flags b) {
  Flags r;
  PV_PARTS r.v[p] = a.v[p] | b.v[p];
  return r;
}
PV_LANE Flags operator!(Flags a) {
  PV_PARTS a.v[p] = ~a.v[p];
  return a;
}
PV_LANE Lanes select(Flags m, Lanes a, Lanes b) {
  PV_PARTS a.v[p] = m.v[p] ? a.v[p] : b.v[p];
  return a;
}
PV_LANE Ints select(Flags m, Ints a, Ints b) {
  PV_PARTS a.v[p] = m.v[p] ? a.v[p] : b.v[p];
  return a;
}
PV_LANE uint32_t bits(Flags m) {
  uint32_t seen = 0;
#if defined(PV_ISA_avx2)
  PV_PARTS seen |= static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(m.v[p])))
                   << (p * kPart);
#elif defined(__SSE2__)
  PV_PARTS seen |= static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(m.v[p])))
                   << (p * kPart);
#else
  PV_PARTS for (int k = 0; k < kPart; ++k) seen |= (static_cast<uint32_t>(m.v[p][k]) & 1u)
                                                   << (p * kPart + k);
#endif
  return seen;
}
PV_LANE bool any(Flags m) { return bits(m) != 0; }
PV_LANE Flags flags(bool on) {
  Flags r;
  PV_PARTS r.v[p] = IntVector{} - (on ? 1 : 0);
  return r;
}
PV_LANE Ints ints(int32_t a) {
  Ints r;
  PV_PARTS r.v[p] = IntVector{} + a;
  return r;
}
PV_LANE Words words(uint32_t a) {
  Words r;
  PV_PARTS r.v[p] = WordVector{} + a;
  return r;
}
PV_LANE Ints operator+(Ints a, Ints b) {
  Ints r;
  PV_PARTS r.v[p] = a.v[p] + b.v[p];
  return r;
}
PV_LANE Ints operator*(Ints a, Ints b) {
  Ints r;
  PV_PARTS r.v[p] = a.v[p] * b.v[p];
  return r;
}
PV_LANE Words operator+(Words a, Words b) {
  Words r;
  PV_PARTS r.v[p] = a.v[p] + b.v[p];
  return r;
}
PV_LANE Words operator*(Words a, Words b) {
  Words r;
  PV_PARTS r.v[p] = a.v[p] * b.v[p];
  return r;
}
PV_LANE Words operator^(Words a, Words b) {
  Words r;
  PV_PARTS r.v[p] = a.v[p] ^ b.v[p];
  return r;
}
PV_LANE Words operator&(Words a, Words b) {
  Words r;
  PV_PARTS r.v[p] = a.v[p] & b.v[p];
  return r;
}
PV_LANE Words operator|(Words a, Words b) {
  Words r;
  PV_PARTS r.v[p] = a.v[p] | b.v[p];
  return r;
}
PV_LANE Words operator>>(Words a, int by) {
  PV_PARTS a.v[p] = a.v[p] >> by;
  return a;
}
PV_LANE Lanes to_float(Ints a) {
  Lanes r;
  PV_PARTS r.v[p] = __builtin_convertvector(a.v[p], FloatVector);
  return r;
}
PV_LANE Ints to_int(Lanes a) {
  Ints r;
  PV_PARTS r.v[p] = __builtin_convertvector(a.v[p], IntVector);
  return r;
}
PV_LANE Lanes as_float(Ints a) {
  Lanes r;
  PV_PARTS r.v[p] = reinterpret_cast<FloatVector>(a.v[p]);
  return r;
}
PV_LANE Ints as_int(Words a) {
  Ints r;
  PV_PARTS r.v[p] = reinterpret_cast<IntVector>(a.v[p]);
  return r;
}
PV_LANE Words as_words(Ints a) {
  Words r;
  PV_PARTS r.v[p] = reinterpret_cast<WordVector>(a.v[p]);
  return r;
}
PV_LANE Words as_words(Lanes a) {
  Words r;
  PV_PARTS r.v[p] = reinterpret_cast<WordVector>(a.v[p]);
  return r;
}
PV_LANE Lanes load(const float* from) {
  Lanes a;
  __builtin_memcpy(a.v, from, sizeof a.v);
  return a;
}
PV_LANE Ints load(const int32_t* from) {
  Ints a;
  __builtin_memcpy(a.v, from, sizeof a.v);
  return a;
}
PV_LANE Words load(const uint32_t* from) {
  Words a;
  __builtin_memcpy(a.v, from, sizeof a.v);
  return a;
}
PV_LANE void store(Lanes a, float* to) { __builtin_memcpy(to, a.v, sizeof a.v); }
PV_LANE void store(Ints a, int32_t* to) { __builtin_memcpy(to, a.v, sizeof a.v); }
PV_LANE Lanes lookup(const float* table, Ints at) {
  Lanes a;
  PV_PARTS for (int k = 0; k < kPart; ++k) a.v[p][k] = table[at.v[p][k]];
  return a;
}

#endif

template <>
struct Of<Lanes> {
  using Mask = Flags;
  using Int = Ints;
  using Word = Words;
};

PV_HD Lanes operator-(Lanes a) { return Lanes(-0.0f) - a; }
PV_HD Lanes& operator+=(Lanes& a, Lanes b) { return a = a + b; }
PV_HD Lanes& operator*=(Lanes& a, Lanes b) { return a = a * b; }
PV_HD Flags operator>(Lanes a, Lanes b) { return b < a; }
PV_HD Flags operator>=(Lanes a, Lanes b) { return b <= a; }
#endif

}  // namespace
}  // namespace pyvqa
