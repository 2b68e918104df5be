// How many pixels two masks share, over the meeting of their boxes; once per instruction set.
#pragma once

#include "masks/bits.h"

#if defined(PV_ISA_avx512)
#include <immintrin.h>
#endif

namespace pyvqa::masks {
namespace {

PV_HD int64_t count_common(const uint64_t* a, const uint64_t* b, int64_t words, const Meeting& m) {
  int64_t common = 0;
  for (int64_t y = m.top; y < m.bottom; ++y) {
    for (int64_t w = m.first; w < m.last; ++w) {
      common += count_ones(a[y * words + w] & b[y * words + w]);
    }
  }
  return common;
}

#if defined(PV_ISA_avx512)

// Eight words of a row at a time, on a CPU that counts the ones of eight words at once.
__attribute__((target("avx512vpopcntdq"))) int64_t count_common_at_once(const uint64_t* a,
                                                                        const uint64_t* b,
                                                                        int64_t words,
                                                                        const Meeting& m) {
  __m512i sum = _mm512_setzero_si512();
  for (int64_t w = m.first; w < m.last; w += 8) {
    const __mmask8 own = static_cast<__mmask8>(low_bits(smaller(m.last - w, int64_t{8})));
    for (int64_t at = m.top * words + w; at < m.bottom * words; at += words) {
      const __m512i both = _mm512_and_si512(_mm512_maskz_loadu_epi64(own, a + at),
                                            _mm512_maskz_loadu_epi64(own, b + at));
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(both));
    }
  }
  int64_t sums[8], common = 0;
  _mm512_storeu_si512(sums, sum);
  for (const int64_t own : sums) common += own;
  return common;
}

#endif

PV_HD int64_t common_pixels(const uint64_t* a, const Extent& a_box, const uint64_t* b,
                            const Extent& b_box, int64_t words,
                            [[maybe_unused]] bool has_vpopcntdq) {
  const Meeting m = meeting(a_box, b_box);
  if (m.empty()) return 0;
#if defined(PV_ISA_avx512)
  if (has_vpopcntdq) return count_common_at_once(a, b, words, m);
#endif
  return count_common(a, b, words, m);
}

}  // namespace
}  // namespace pyvqa::masks
