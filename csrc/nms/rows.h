// Kept boxes in rows of one coordinate each, and the question whether one of them suppresses a
// candidate: 16 (float) or 8 (double) at a time with AVX-512, else in blocks that the compiler
// turns into vector code. Compiled once per instruction set.
#pragma once

#include "nms/nms.h"

#if defined(PV_ISA_avx512)
#include <immintrin.h>
#endif

namespace pyvqa {
namespace {

// Five rows x1, y1, x2, y2, area, `stride` numbers apart.
template <class T>
struct Rows {
  T* at;
  int64_t stride;

  void set(int64_t k, const Box<T>& box) const {
    at[k] = box.x1;
    at[k + stride] = box.y1;
    at[k + 2 * stride] = box.x2;
    at[k + 3 * stride] = box.y2;
    at[k + 4 * stride] = box.area;
  }
  Box<T> get(int64_t k) const {
    return {at[k], at[k + stride], at[k + 2 * stride], at[k + 3 * stride], at[k + 4 * stride]};
  }
  Rows from(int64_t k) const { return {at + k, stride}; }
};

#if defined(PV_ISA_avx512)

struct FloatLanes {
  using Vector = __m512;
  static constexpr int kLanes = 16;
  static constexpr __mmask16 kAll = 0xffff;
  static Vector spread(float value) { return _mm512_set1_ps(value); }
  static Vector load(const float* at) { return _mm512_loadu_ps(at); }
  static Vector load(uint32_t lanes, const float* at) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), at);
  }
  // Both instructions give their second operand where neither is larger, as nms.h asks for.
  static Vector larger(Vector a, Vector b) { return _mm512_maskz_max_ps(kAll, b, a); }
  static Vector smaller(Vector a, Vector b) { return _mm512_maskz_min_ps(kAll, b, a); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static uint32_t not_less(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static uint32_t not_greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_NGT_UQ); }
  static uint32_t greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static uint32_t reaches(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
};

struct DoubleLanes {
  using Vector = __m512d;
  static constexpr int kLanes = 8;
  static constexpr __mmask8 kAll = 0xff;
  static Vector spread(double value) { return _mm512_set1_pd(value); }
  static Vector load(const double* at) { return _mm512_loadu_pd(at); }
  static Vector load(uint32_t lanes, const double* at) {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes), at);
  }
  static Vector larger(Vector a, Vector b) { return _mm512_maskz_max_pd(kAll, b, a); }
  static Vector smaller(Vector a, Vector b) { return _mm512_maskz_min_pd(kAll, b, a); }
  static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_pd(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  static Vector divide(Vector a, Vector b) { return _mm512_div_pd(a, b); }
  static uint32_t not_less(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ); }
  static uint32_t not_greater(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_NGT_UQ); }
  static uint32_t greater(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
  static uint32_t reaches(Vector a, Vector b) { return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ); }
};

template <class T>
struct LanesOf {
  using Type = FloatLanes;
};
template <>
struct LanesOf<double> {
  using Type = DoubleLanes;
};

// A candidate and the rule, spread over the lanes once.
template <class T, bool kInclusive>
class Candidate {
 public:
  Candidate(const Box<T>& box, const Rule<T>& rule)
      : x1_(L::spread(box.x1)),
        y1_(L::spread(box.y1)),
        x2_(L::spread(box.x2)),
        y2_(L::spread(box.y2)),
        area_(L::spread(box.area)),
        filter_(L::spread(rule.filter)),
        threshold_(L::spread(rule.threshold)),
        equal_(rule.equal) {}

  // Whether one of the first `count` boxes suppresses it.
  bool is_suppressed(const Rows<T>& kept, int64_t count) const {
    int64_t k = 0;
    for (; k + L::kLanes <= count; k += L::kLanes)
      if (suppressors([&](int row) { return L::load(kept.at + row * kept.stride + k); }) != 0)
        return true;
    if (k == count) return false;
    const uint32_t lanes = (1u << (count - k)) - 1;
    return (suppressors([&](int row) { return L::load(lanes, kept.at + row * kept.stride + k); }) &
            lanes) != 0;
  }

 private:
  using L = typename LanesOf<T>::Type;
  using Vector = typename L::Vector;

  Vector x1_, y1_, x2_, y2_, area_, filter_, threshold_;
  bool equal_;

  static Vector side(Vector low, Vector high) {
    Vector size = L::subtract(high, low);
    if constexpr (kInclusive) size = L::add(size, L::spread(T(1)));
    return L::larger(L::spread(T(0)), size);
  }

  // The lanes whose box suppresses: `suppresses` of nms.h, the division only where it may decide.
  template <class Load>
  uint32_t suppressors(Load load) const {
    const Vector width = side(L::larger(load(0), x1_), L::smaller(load(2), x2_));
    const Vector height = side(L::larger(load(1), y1_), L::smaller(load(3), y2_));
    const Vector both = L::multiply(width, height);
    const Vector united = L::subtract(L::add(load(4), area_), both);
    const uint32_t open =
        L::not_less(both, L::multiply(filter_, united)) | L::not_greater(united, L::spread(T(0)));
    if (open == 0) [[likely]]
      return 0;
    const Vector overlap = L::divide(both, united);
    return open & (equal_ ? L::reaches(overlap, threshold_) : L::greater(overlap, threshold_));
  }
};

#else

template <class T, bool kInclusive>
class Candidate {
 public:
  Candidate(const Box<T>& box, const Rule<T>& rule) : box_(box), rule_(rule) {}

  bool is_suppressed(const Rows<T>& kept, int64_t count) const {
    constexpr int kBlock = 16;
    int64_t k = 0;
    for (; k + kBlock <= count; k += kBlock)
      if (any_open<kBlock>(kept.from(k)) && any_suppresses(kept, k, k + kBlock)) return true;
    return any_suppresses(kept, k, count);
  }

 private:
  const Box<T>& box_;
  const Rule<T>& rule_;

  bool any_suppresses(const Rows<T>& kept, int64_t begin, int64_t end) const {
    for (int64_t k = begin; k < end; ++k)
      if (suppresses(kept.get(k), box_, rule_)) return true;
    return false;
  }

  static T side(T low, T high) {
    T size = high - low;
    if constexpr (kInclusive) size += T(1);
    return larger(T(0), size);
  }

  template <int kBlock>
  bool any_open(const Rows<T>& kept) const {
    const Box<T> box = box_;
    const T filter = rule_.filter;
    int open = 0;
    for (int k = 0; k < kBlock; ++k) {
      const Box<T> other = kept.get(k);
      const T width = side(larger(other.x1, box.x1), smaller(other.x2, box.x2));
      const T height = side(larger(other.y1, box.y1), smaller(other.y2, box.y2));
      const T both = width * height, united = other.area + box.area - both;
      open |= static_cast<int>(may_suffice(both, united, filter));
    }
    return open != 0;
  }
};

#endif

}  // namespace
}  // namespace pyvqa
