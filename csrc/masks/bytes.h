// Bytes to bits and back, 64 at a time, in the instruction set that this file is compiled for.
#pragma once

#include <cstring>

#include "masks/bits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pyvqa::masks {
namespace {

PV_HD uint64_t bits_of_strided(const uint8_t* bytes, int64_t step, int64_t count) {
  uint64_t bits = 0;
  for (int64_t k = 0; k < count; ++k) bits |= static_cast<uint64_t>(bytes[k * step] != 0) << k;
  return bits;
}

// Bit k says whether byte k is not 0. The last bytes of a line may be fewer than 64; `length` is
// that of the line.
#if defined(PV_ISA_avx512)

PV_HD uint64_t bits_of_64(const uint8_t* bytes) {
  const __m512i v = _mm512_loadu_si512(bytes);
  return _mm512_test_epi8_mask(v, v);
}

PV_HD uint64_t bits_of_last(const uint8_t* bytes, int64_t count, int64_t) {
  const __m512i v = _mm512_maskz_loadu_epi8(low_bits(count), bytes);
  return _mm512_test_epi8_mask(v, v);
}

PV_HD void bytes_of_64(uint64_t bits, uint8_t* bytes) {
  _mm512_storeu_si512(bytes, _mm512_maskz_set1_epi8(bits, 1));
}

PV_HD void bytes_of_fewer(uint64_t bits, uint8_t* bytes, int64_t count) {
  _mm512_mask_storeu_epi8(bytes, low_bits(count), _mm512_maskz_set1_epi8(bits, 1));
}

#else

#if defined(PV_ISA_avx2)

PV_HD uint32_t bits_of_32(const uint8_t* bytes) {
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  const __m256i zero = _mm256_cmpeq_epi8(v, _mm256_setzero_si256());
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(zero));
}

PV_HD uint64_t bits_of_64(const uint8_t* bytes) {
  return bits_of_32(bytes) | static_cast<uint64_t>(bits_of_32(bytes + 32)) << 32;
}

PV_HD void bytes_of_32(uint32_t bits, uint8_t* bytes) {
  const __m256i copies = _mm256_set1_epi32(static_cast<int>(bits));
  const __m256i byte_of_lane =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of_lane = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(copies, byte_of_lane), bit_of_lane);
  const __m256i ones = _mm256_and_si256(_mm256_cmpeq_epi8(own, bit_of_lane), _mm256_set1_epi8(1));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), ones);
}

PV_HD void bytes_of_64(uint64_t bits, uint8_t* bytes) {
  bytes_of_32(static_cast<uint32_t>(bits), bytes);
  bytes_of_32(static_cast<uint32_t>(bits >> 32), bytes + 32);
}

#else

#if defined(__SSE2__)

PV_HD uint64_t bits_of_16(const uint8_t* bytes) {
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const int zero = _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_setzero_si128()));
  return static_cast<uint64_t>(~zero & 0xffff);
}

PV_HD uint64_t bits_of_64(const uint8_t* bytes) {
  return bits_of_16(bytes) | bits_of_16(bytes + 16) << 16 | bits_of_16(bytes + 32) << 32 |
         bits_of_16(bytes + 48) << 48;
}

#else

// Eight bytes in a word, the first lowest: memory is read byte by byte so that any order will do.
PV_HD uint64_t load_8(const uint8_t* bytes) {
  uint64_t word = 0;
  for (int k = 0; k < 8; ++k) word |= static_cast<uint64_t>(bytes[k]) << (8 * k);
  return word;
}

PV_HD uint64_t bits_of_64(const uint8_t* bytes) {
  constexpr uint64_t kLow7 = 0x7f7f7f7f7f7f7f7f;
  uint64_t bits = 0;
  for (int k = 0; k < 8; ++k) {
    const uint64_t word = load_8(bytes + 8 * k);
    const uint64_t high = (((word & kLow7) + kLow7) | word) & ~kLow7;  // bit 7 where not 0
    bits |= (high >> 7) * 0x0102040810204080 >> 56 << (8 * k);
  }
  return bits;
}

#endif

PV_HD void bytes_of_64(uint64_t bits, uint8_t* bytes) {
  for (int k = 0; k < 64; ++k) bytes[k] = static_cast<uint8_t>(bits >> k & 1);
}

#endif

PV_HD uint64_t bits_of_last(const uint8_t* bytes, int64_t count, int64_t length) {
  if (length < kWordBits) return bits_of_strided(bytes, 1, count);
  return bits_of_64(bytes + count - kWordBits) >> (kWordBits - count);
}

PV_HD void bytes_of_fewer(uint64_t bits, uint8_t* bytes, int64_t count) {
  uint8_t whole[kWordBits];
  bytes_of_64(bits, whole);
  memcpy(bytes, whole, static_cast<size_t>(count));
}

#endif

// Turns a block of 64 x 64 bits over: bit x of word y becomes bit y of word x.
#if defined(PV_ISA_avx512)

// Eight words in a register, with operators instead of intrinsics: beside a local array, gcc would
// make those need exception tables, which bring a weak symbol.
typedef uint64_t Words8 __attribute__((vector_size(64), aligned(8), may_alias));

// A word for each lane: `upper` where bit J of its number is set, else `lower`.
template <int J>
PV_HD Words8 by_lane(uint64_t lower, uint64_t upper) {
  return Words8{lower,
                1 & J ? upper : lower,
                2 & J ? upper : lower,
                3 & J ? upper : lower,
                4 & J ? upper : lower,
                5 & J ? upper : lower,
                6 & J ? upper : lower,
                7 & J ? upper : lower};
}

// Words whose numbers differ by J = 1, 2, 4 change places of their outer bits: lower words keep
// their low bits and take the low bits of the other, upper words the reverse.
template <int J>
PV_HD Words8 swap_in_register(Words8 v, uint64_t low) {
  const Words8 other =
      __builtin_shufflevector(v, v, 0 ^ J, 1 ^ J, 2 ^ J, 3 ^ J, 4 ^ J, 5 ^ J, 6 ^ J, 7 ^ J);
  return (v & by_lane<J>(low, ~low)) | ((other << J) & by_lane<J>(~low, 0)) |
         ((other >> J) & by_lane<J>(0, low));
}

// The same for J = 8, 16, 32: the words are in different registers.
template <int J>
PV_HD void swap_registers(Words8* v, uint64_t low) {
  for (int k = 0; k < 8; ++k) {
    if (k & (J / 8)) continue;
    const Words8 a = v[k], b = v[k + J / 8];
    v[k] = (a & low) | ((b << J) & ~low);
    v[k + J / 8] = ((a >> J) & low) | (b & ~low);
  }
}

PV_HD void transpose_64(uint64_t* words) {
  Words8* at = reinterpret_cast<Words8*>(words);
  Words8 v[8];
  for (int k = 0; k < 8; ++k) v[k] = at[k];
  swap_registers<32>(v, 0x00000000ffffffff);
  swap_registers<16>(v, 0x0000ffff0000ffff);
  swap_registers<8>(v, 0x00ff00ff00ff00ff);
  for (int k = 0; k < 8; ++k) {
    const Words8 by_four = swap_in_register<4>(v[k], 0x0f0f0f0f0f0f0f0f);
    const Words8 by_two = swap_in_register<2>(by_four, 0x3333333333333333);
    at[k] = swap_in_register<1>(by_two, 0x5555555555555555);
  }
}

#else

template <int J>
PV_HD void swap_round(uint64_t* words, uint64_t low_mask) {
  for (int from = 0; from < 64; from += 2 * J) {
    for (int k = from; k < from + J; ++k) {
      const uint64_t change = ((words[k] >> J) ^ words[k + J]) & low_mask;
      words[k] ^= change << J;
      words[k + J] ^= change;
    }
  }
}

PV_HD void transpose_64(uint64_t* words) {
  swap_round<32>(words, 0x00000000ffffffff);
  swap_round<16>(words, 0x0000ffff0000ffff);
  swap_round<8>(words, 0x00ff00ff00ff00ff);
  swap_round<4>(words, 0x0f0f0f0f0f0f0f0f);
  swap_round<2>(words, 0x3333333333333333);
  swap_round<1>(words, 0x5555555555555555);
}

#endif

}  // namespace
}  // namespace pyvqa::masks
