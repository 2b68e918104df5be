// The features of one pair, and from their gradients those of its factors. Only for files that are
// compiled once per instruction set.
#pragma once

#include "pairwise/pairwise.h"
#include "pairwise/vectors.h"

namespace pyvqa {
namespace {

// Features [k, k + lanes) of a chunk before normalisation; kWhole: all of these lanes exist.
template <class T, bool kWhole>
PV_HD typename Simd<T>::Vector products_of(const PairChunk& chunk, const T* left, const T* right,
                                           int32_t k) {
  typename Simd<T>::Vector sum{};
  for (int32_t r = 0; r < chunk.rank; ++r) {
    const int64_t at = int64_t{r} * chunk.size + k;
    if constexpr (kWhole) {
      sum += load_lanes(left + at) * load_lanes(right + at);
    } else {
      sum += load_first_lanes(left + at, chunk.size - k) *
             load_first_lanes(right + at, chunk.size - k);
    }
  }
  return sum;
}

// Writes the chunk's features as they are before normalisation; returns their sizes, lane by lane.
// Whole registers are stored: `y` has room for another one behind its last feature.
template <class T>
PV_HD typename Simd<T>::Vector multiply_chunk(const PairChunk& chunk, const T* left, const T* right,
                                              T* y) {
  using Vector = typename Simd<T>::Vector;
  Vector sizes{};
  const T *a = left + chunk.factor, *b = right + chunk.factor;
  T* z = y + chunk.feature;
  int32_t k = 0;
  for (; k + kLanes<T> <= chunk.size; k += kLanes<T>) {
    const Vector product = products_of<T, true>(chunk, a, b, k);
    store_lanes(z + k, product);
    sizes += product < Vector{} ? -product : product;
  }
  if (k < chunk.size) {
    const Vector product = products_of<T, false>(chunk, a, b, k);
    store_lanes(z + k, product);
    sizes += product < Vector{} ? -product : product;
  }
  return sizes;
}

// The K features of a pair, and for each group 1 / the sum that it was divided by. `y` has room for
// K and a register more.
template <class T>
void pair_features(const PairLayout& layout, const T* left, const T* right, T* y, T* inverses) {
  for (int32_t g = 0; g < layout.group_count; ++g) {
    const PairGroup& group = layout.groups[g];
    typename Simd<T>::Vector sizes{};
    for (int32_t c = group.first; c < group.end; ++c)
      sizes += multiply_chunk(layout.chunks[c], left, right, y);
    inverses[g] = T(0);
    if (!group.normalised) continue;
    const T inverse = inverse_of_sum(sum_of_lanes<T>(sizes));
    inverses[g] = inverse;
    T* z = y + group.feature;
    for (int32_t k = 0; k < group.features; ++k) z[k] = signed_root(z[k], inverse);
  }
}

// Turns the gradient of a pair's features into that of what they were before normalisation.
template <class T>
void undo_roots(const PairLayout& layout, const T* y, const T* inverses, T* slopes) {
  for (int32_t g = 0; g < layout.group_count; ++g) {
    const PairGroup& group = layout.groups[g];
    if (!group.normalised) continue;
    const T* from = y + group.feature;
    T* to = slopes + group.feature;
    const T inverse = inverses[g];
    T along = T(0);
    if (!counts_as_constant(inverse)) {
      typename Simd<T>::Vector sums{};
      int32_t k = 0;
      for (; k + kLanes<T> <= group.features; k += kLanes<T>)
        sums += load_lanes(from + k) * load_lanes(to + k);
      const int32_t left = group.features - k;
      sums += load_first_lanes(from + k, left) * load_first_lanes(to + k, left);
      along = sum_of_lanes<T>(sums);
    }
    for (int32_t k = 0; k < group.features; ++k) to[k] = root_slope(from[k], to[k], along, inverse);
  }
}

// Adds the gradient of one side's factors, given the other side's.
template <class T>
void add_factor_slopes(const PairLayout& layout, const T* slopes, const T* other, T* to) {
  for (int32_t g = 0; g < layout.group_count; ++g)
    for (int32_t c = layout.groups[g].first; c < layout.groups[g].end; ++c) {
      const PairChunk& chunk = layout.chunks[c];
      for (int32_t r = 0; r < chunk.rank; ++r) {
        const int64_t at = chunk.factor + int64_t{r} * chunk.size;
        add_products(to + at, slopes + chunk.feature, other + at, chunk.size);
      }
    }
}

}  // namespace
}  // namespace pyvqa
