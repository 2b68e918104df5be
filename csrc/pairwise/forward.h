// The forward of some regions of an image. Only for files that are compiled once per instruction
// set.
#pragma once

#include "pairwise/features.h"
#include "pairwise/pairwise_kernel.h"
#include "pairwise/product.h"

namespace pyvqa {
namespace {

template <class Terms>
constexpr int64_t kBlockOutputs = 2 * kLanes<typename Terms::Sum>;

template <class Terms>
PV_HD int64_t weight_blocks(const PairSizes& sizes) {
  return (sizes.outputs + kBlockOutputs<Terms> - 1) / kBlockOutputs<Terms>;
}

// Pieces of features of a pair.
template <class Terms>
PV_HD int64_t piece_count(const PairSizes& sizes) {
  constexpr int64_t kPerPiece = kPiece * Terms::kFeatures;
  return (sizes.features + kPerPiece - 1) / kPerPiece;
}

template <class Terms>
PV_HD int64_t block_words(const PairSizes& sizes) {
  return piece_count<Terms>(sizes) * kPiece * kBlockOutputs<Terms>;
}

// Numbers of a row of features on their way into a panel.
PV_HD int64_t row_numbers(const PairSizes& sizes) { return sizes.features + 4 * kPairRowPad; }

// Words of the panel of one region: its row blocks of kRows each.
template <class Terms>
PV_HD int64_t panel_words(const PairSizes& sizes, int64_t rows) {
  return (rows + kRows - 1) / kRows * kRows * piece_count<Terms>(sizes) * kPiece;
}

template <class Terms>
PV_HD int64_t panel_bytes(const PairSizes& sizes, int64_t nodes, int64_t rows, int64_t groups) {
  return nodes * panel_words<Terms>(sizes, rows) *
             static_cast<int64_t>(sizeof(typename Terms::Word)) +
         (row_numbers(sizes) + groups) * static_cast<int64_t>(sizeof(typename Terms::Sum));
}

// ---- weights

PV_HD void put_word(const double* weights, int64_t, double& word) { word = weights[0]; }
PV_HD void put_word(const float* weights, int64_t, float& word) { word = weights[0]; }
PV_HD void put_word(const float* weights, int64_t count, uint32_t& word) {
  BFloat16 low, high;
  narrow(weights[0], low);
  narrow(count > 1 ? weights[1] : 0.0f, high);
  word = uint32_t{high.bits} << 16 | low.bits;
}

PV_HD void round_word(double&) {}
PV_HD void round_word(uint32_t&) {}
PV_HD void round_word(float& word) {
  BFloat16 rounded;
  narrow(word, rounded);
  word = widen(rounded);
}

template <class Terms>
void pack_weights(const PackJob& job, int64_t begin, int64_t end) {
  using T = typename Terms::Sum;
  using Word = typename Terms::Word;
  const PairSizes& sizes = job.sizes;
  const int64_t words = piece_count<Terms>(sizes) * kPiece;
  for (int64_t block = begin; block < end; ++block) {
    Word* to = static_cast<Word*>(job.packed) + block * block_words<Terms>(sizes);
    for (int64_t o = 0; o < kBlockOutputs<Terms>; ++o) {
      const int64_t output = block * kBlockOutputs<Terms> + o;
      const T* from = static_cast<const T*>(job.weight) + output * sizes.features;
      for (int64_t w = 0; w < words; ++w) {
        const int64_t k = w * Terms::kFeatures;
        Word word{};
        if (output < sizes.outputs && k < sizes.features) {
          put_word(from + k, sizes.features - k, word);
          if (job.precision == PairPrecision::rounded) round_word(word);
        }
        to[w * kBlockOutputs<Terms> + o] = word;
      }
    }
  }
}

// ---- pairs

// One region's panel: its pairs with members [first, first + rows).
template <class Terms>
void fill_panel(const ForwardJob& job, const ForwardTask& task, int32_t region, int32_t first,
                int32_t rows, typename Terms::Word* panel, typename Terms::Sum* y) {
  using T = typename Terms::Sum;
  const PairSizes& sizes = job.sizes;
  const int64_t pieces = piece_count<Terms>(sizes), image = task.image * sizes.regions;
  const T* left = static_cast<const T*>(job.left) + (image + region) * sizes.factors;
  const T* right = static_cast<const T*>(job.right) + image * sizes.factors;
  T* inverses = y + row_numbers(sizes);
  const RowBlocks blocks(rows);
  int32_t row = 0;
  for (int32_t block = 0; block < blocks.blocks; ++block) {
    typename Terms::Word* at = panel + block * pieces * kRows * kPiece;
    for (int32_t r = 0; r < blocks.count(block); ++r, ++row) {
      const int64_t other = task.members[first + row];
      pair_features(*job.layout, left, right + other * sizes.factors, y, inverses);
      const int64_t padded = pieces * kPiece * Terms::kFeatures;
      for (int64_t k = sizes.features; k < padded; ++k) y[k] = T(0);
      if (job.precision == PairPrecision::rounded)
        for (int64_t k = 0; k < sizes.features; ++k) round_word(y[k]);
      fill_words(y, pieces, at + r * kPiece);
    }
  }
}

// What has been found for a block of outputs goes to memory, and comes from there if the pairs do
// not fit into the cache at once.
template <class Terms>
PV_HD void store_best(const Best<typename Terms::Sum>& best, const typename Terms::Sum* bias,
                      int64_t count, typename Terms::Sum* __restrict out,
                      int32_t* __restrict argmax) {
  using T = typename Terms::Sum;
  T values[kBlockOutputs<Terms>];
  Lane<T> regions[kBlockOutputs<Terms>];
  memcpy(values, best.value, sizeof values);
  memcpy(regions, best.index, sizeof regions);
  for (int64_t o = 0; o < count; ++o) {
    out[o] = bias == nullptr ? values[o] : values[o] + bias[o];
    argmax[o] = static_cast<int32_t>(regions[o]);
  }
}

template <class Terms>
PV_HD void load_best(const typename Terms::Sum* out, const int32_t* argmax, int64_t count,
                     Best<typename Terms::Sum>& best) {
  using T = typename Terms::Sum;
  T values[kBlockOutputs<Terms>] = {};
  Lane<T> regions[kBlockOutputs<Terms>] = {};
  for (int64_t o = 0; o < count; ++o) {
    values[o] = out[o];
    regions[o] = argmax[o];
  }
  memcpy(best.value, values, sizeof values);
  memcpy(best.index, regions, sizeof regions);
  best.any = true;
}

// The pairs of one region in a panel against one block of weights.
template <class Terms>
void largest_of_panel(const ForwardJob& job, const typename Terms::Word* weights,
                      const typename Terms::Word* panel, int32_t rows, const int32_t* members,
                      Best<typename Terms::Sum>& best) {
  const int64_t pieces = piece_count<Terms>(job.sizes);
  const RowBlocks blocks(rows);
  for (int32_t block = 0; block < blocks.blocks; ++block) {
    const int32_t count = blocks.count(block);
    multiply_rows<Terms>(count, weights, panel, pieces, members, best);
    panel += pieces * kRows * kPiece;
    members += count;
  }
}

// A block of weights stays in the cache for all regions of the task.
template <class Terms>
void largest_outputs(const ForwardJob& job, const ForwardTask& task, void* work) {
  using T = typename Terms::Sum;
  using Word = typename Terms::Word;
  const PairSizes& sizes = job.sizes;
  const int64_t panel = panel_words<Terms>(sizes, job.rows);
  Word* panels = static_cast<Word*>(work);
  T* y = reinterpret_cast<T*>(panels + task.count * panel);
  const int32_t most = static_cast<int32_t>(job.rows);
  for (int32_t first = 0; first < task.member_count; first += most) {
    const int32_t left = task.member_count - first, rows = left < most ? left : most;
    for (int32_t n = 0; n < task.count; ++n)
      fill_panel<Terms>(job, task, task.members[task.first + n], first, rows, panels + n * panel,
                        y);
    for (int64_t block = 0; block < weight_blocks<Terms>(sizes); ++block) {
      const Word* weights =
          static_cast<const Word*>(job.packed) + block * block_words<Terms>(sizes);
      const int64_t output = block * kBlockOutputs<Terms>, beyond = sizes.outputs - output,
                    count = beyond < kBlockOutputs<Terms> ? beyond : kBlockOutputs<Terms>;
      const bool last = rows == left;
      const T* bias =
          job.bias != nullptr && last ? static_cast<const T*>(job.bias) + output : nullptr;
      for (int32_t n = 0; n < task.count; ++n) {
        const int64_t at =
            (task.image * sizes.regions + task.members[task.first + n]) * sizes.outputs + output;
        Best<T> best{};
        if (first > 0)
          load_best<Terms>(static_cast<T*>(job.out) + at, job.argmax + at, count, best);
        largest_of_panel<Terms>(job, weights, panels + n * panel, rows, task.members + first, best);
        store_best<Terms>(best, bias, count, static_cast<T*>(job.out) + at, job.argmax + at);
      }
    }
  }
}

}  // namespace
}  // namespace pyvqa
