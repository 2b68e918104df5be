// The last product and the maximum over the pairs of one region, in registers. Only for files that
// are compiled once per instruction set.
//
// Lanes are outputs: two registers of weights meet one feature of each of kRows pairs in turn, so
// 2 kRows sums are in registers, and the largest of them needs no look across lanes.
//
// Weights are packed for each block of 2 kLanes outputs: all features, the block's outputs of one
// feature side by side. Features of pairs come in panels: for each block of up to kRows pairs and
// every kPiece features those of the first pair, those of the second, ... Both are in words: a word
// is a number, or, for the dot products of bfloat16, two features.
#pragma once

#include "common/half.h"
#include "pairwise/vectors.h"

namespace pyvqa {
namespace {

#if defined(PV_ISA_avx512)
constexpr int kRows = 12;  // 24 sums of 32 registers
#elif defined(PV_ISA_avx2)
constexpr int kRows = 6;
#else
constexpr int kRows = 4;
#endif
constexpr int kPiece = 8;

// How a word of weights and one of features add to a sum: as numbers ...
template <class T>
struct Numbers {
  using Sum = T;
  using Word = T;
  using Words = typename Simd<T>::Vector;
  static constexpr int kFeatures = 1;    // of a word
  static constexpr int64_t kPieces = 8;  // of a sum
  static PV_HD Words load(const Word* from) { return load_lanes(from); }
  static PV_HD Words broadcast(Word word) { return in_all_lanes(word); }
  static PV_HD void add(Words& sum, const Words& weights, const Words& features) {
    sum += weights * features;
  }
};

// ... or as pairs of bfloat16, whose two products an AVX512-BF16 instruction adds in float32.
#if defined(PV_ISA_avx512)
struct BFloat16Pairs {
  using Sum = float;
  using Word = uint32_t;
  using Words = __m512i;
  static constexpr int kFeatures = 2;
  static constexpr int64_t kPieces = int64_t{1} << 40;  // their own rounding is larger
  static PV_HD Words load(const Word* from) { return _mm512_loadu_si512(from); }
  static PV_HD Words broadcast(Word word) { return _mm512_set1_epi32(static_cast<int>(word)); }
  static PV_HD void add(Simd<float>::Vector& sum, const Words& weights, const Words& features) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(features));
  }
};
#endif

// The largest sums so far and whose they are.
template <class T>
struct Best {
  typename Simd<T>::Vector value[2];
  typename Simd<T>::Index index[2];
  bool any;

  // A larger value wins, and so does the first NaN.
  PV_HD void take(const typename Simd<T>::Vector (&sum)[2], int32_t region) {
    using Index = typename Simd<T>::Index;
    const Index here = region - Index{};
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const Index wins = (sum[v] > value[v]) | ((sum[v] != sum[v]) & (value[v] == value[v]));
      value[v] = wins ? sum[v] : value[v];
      index[v] = wins ? here : index[v];
    }
  }
  PV_HD void start(const typename Simd<T>::Vector (&sum)[2], int32_t region) {
    const typename Simd<T>::Index here = region - typename Simd<T>::Index{};
    any = true;
    value[0] = sum[0], value[1] = sum[1];
    index[0] = index[1] = here;
  }
};

// Sums of kCount pairs over some pieces, added to `sums`.
template <class Terms, int kCount>
PV_HD void add_pieces(const typename Terms::Word* weights, const typename Terms::Word* panel,
                      int64_t pieces,
                      typename Simd<typename Terms::Sum>::Vector (&sums)[kCount][2]) {
  for (int64_t p = 0; p < pieces; ++p) {
#pragma GCC unroll 4
    for (int k = 0; k < kPiece; ++k) {
      const typename Terms::Words first = Terms::load(weights),
                                  second = Terms::load(weights + kLanes<typename Terms::Sum>);
      weights += 2 * kLanes<typename Terms::Sum>;
#pragma GCC unroll 12
      for (int row = 0; row < kCount; ++row) {
        const typename Terms::Words feature = Terms::broadcast(panel[row * kPiece + k]);
        Terms::add(sums[row][0], first, feature);
        Terms::add(sums[row][1], second, feature);
      }
    }
    panel += kRows * kPiece;
  }
}

// One block of kCount pairs against one block of outputs. Sums are made of shorter ones, which
// halves their rounding.
template <class Terms, int kCount>
void multiply_block(const typename Terms::Word* weights, const typename Terms::Word* panel,
                    int64_t pieces, const int32_t* regions, Best<typename Terms::Sum>& best) {
  using T = typename Terms::Sum;
  typename Simd<T>::Vector totals[kCount][2] = {};
  for (int64_t p = 0; p < pieces; p += Terms::kPieces) {
    typename Simd<T>::Vector sums[kCount][2] = {};
    const int64_t left = pieces - p;
    add_pieces<Terms, kCount>(weights + p * kPiece * 2 * kLanes<T>, panel + p * kRows * kPiece,
                              left < Terms::kPieces ? left : Terms::kPieces, sums);
#pragma GCC unroll 12
    for (int row = 0; row < kCount; ++row) {
      totals[row][0] += sums[row][0];
      totals[row][1] += sums[row][1];
    }
  }
  int from = 0;
  if (!best.any) best.start(totals[from], regions[from]), from = 1;
#pragma GCC unroll 12
  for (int row = 0; row < kCount; ++row)
    if (row >= from) best.take(totals[row], regions[row]);
}

template <class Terms, int kCount = kRows>
PV_HD void multiply_rows(int32_t count, const typename Terms::Word* weights,
                         const typename Terms::Word* panel, int64_t pieces, const int32_t* regions,
                         Best<typename Terms::Sum>& best) {
  if (count == kCount) {
    multiply_block<Terms, kCount>(weights, panel, pieces, regions, best);
  } else if constexpr (kCount > 1) {
    multiply_rows<Terms, kCount - 1>(count, weights, panel, pieces, regions, best);
  }
}

// How `rows` pairs are spread over blocks: evenly, the first `longer` of them with one more.
struct RowBlocks {
  int32_t blocks, length, longer;

  explicit RowBlocks(int32_t rows)
      : blocks((rows + kRows - 1) / kRows),
        length(blocks > 0 ? rows / blocks : 0),
        longer(blocks > 0 ? rows % blocks : 0) {}
  int32_t count(int32_t block) const { return length + (block < longer ? 1 : 0); }
};

// Writes one pair's features into its place of a panel; `y` is padded with zeros to whole pieces.
template <class T>
PV_HD void fill_words(const T* __restrict y, int64_t pieces, T* __restrict at) {
  for (int64_t p = 0; p < pieces; ++p, at += kRows * kPiece, y += kPiece)
    memcpy(at, y, kPiece * sizeof(T));
}
PV_HD void fill_words(const float* __restrict y, int64_t pieces, uint32_t* __restrict at) {
  for (int64_t p = 0; p < pieces; ++p, at += kRows * kPiece, y += 2 * kPiece) {
    BFloat16 rounded[2 * kPiece];
    for (int k = 0; k < 2 * kPiece; ++k) narrow(y[k], rounded[k]);
    memcpy(at, rounded, sizeof rounded);
  }
}

}  // namespace
}  // namespace pyvqa
