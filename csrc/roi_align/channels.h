// Resampling where the channels of a pixel lie side by side: one multiply-add a channel and source
// pixel, nothing else. Only for files that are compiled once per instruction set.
#pragma once

#include "roi_align/packs.h"
#include "roi_align/roi_align_kernel.h"

namespace pyvqa {
namespace {

enum class Write { store, stream, add };

// One place of the result: what to mix and with which weights. The sum over `inner` is made first.
template <class T>
struct Mix {
  using A = typename Wide<T>::type;
  const T* from;
  T* to;
  const Entry<A>*outer, *inner;
  int32_t outer_count, inner_count;
  int64_t outer_stride, inner_stride;
};

// `kPacks` packs of channels from `c` on. kInner > 0: the number of inner entries, whose weights
// then stay in registers.
template <class T, int kPacks, int kInner, Write kWrite>
PV_HD void mix_packs(const Mix<T>& mix, int64_t c) {
  using P = Pack<T>;
  using Vector = typename P::Vector;
  constexpr int kVectors = kPacks * P::kParts;
  Vector sum[kVectors] = {};
  if constexpr (kWrite == Write::add) {
#pragma GCC unroll 8
    for (int p = 0; p < kPacks; ++p) P::load(mix.to + c + p * P::kCount, sum + p * P::kParts);
  }
  Vector weights[kInner + 1];
  int64_t offsets[kInner + 1];
#pragma GCC unroll 4
  for (int i = 0; i < kInner; ++i) {
    weights[i] = Vector{} + mix.inner[i].weight;
    offsets[i] = mix.inner[i].index * mix.inner_stride;
  }
  const int32_t inner_count = kInner > 0 ? kInner : mix.inner_count;
  for (int32_t o = 0; o < mix.outer_count; ++o) {
    const T* line = mix.from + c + mix.outer[o].index * mix.outer_stride;
    Vector partial[kVectors] = {};
#pragma GCC unroll 4
    for (int32_t i = 0; i < inner_count; ++i) {
      const T* pixel = line + (kInner > 0 ? offsets[i] : mix.inner[i].index * mix.inner_stride);
      const Vector weight = kInner > 0 ? weights[i] : Vector{} + mix.inner[i].weight;
#pragma GCC unroll 8
      for (int p = 0; p < kPacks; ++p) {
        Vector values[P::kParts];
        P::load(pixel + p * P::kCount, values);
        for (int v = 0; v < P::kParts; ++v) partial[p * P::kParts + v] += weight * values[v];
      }
    }
    const Vector weight = Vector{} + mix.outer[o].weight;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[v] += weight * partial[v];
  }
#pragma GCC unroll 8
  for (int p = 0; p < kPacks; ++p) {
    T* to = mix.to + c + p * P::kCount;
    if constexpr (kWrite == Write::stream) {
      stream_vector(to, P::stored(sum + p * P::kParts));
    } else {
      store_vector(to, P::stored(sum + p * P::kParts));
    }
  }
}

template <class T, Write kWrite>
PV_HD void mix_one(const Mix<T>& mix, int64_t c) {
  typename Wide<T>::type sum = 0;
  if constexpr (kWrite == Write::add) sum = widen(mix.to[c]);
  for (int32_t o = 0; o < mix.outer_count; ++o) {
    const T* line = mix.from + c + mix.outer[o].index * mix.outer_stride;
    typename Wide<T>::type partial = 0;
    for (int32_t i = 0; i < mix.inner_count; ++i)
      partial += mix.inner[i].weight * widen(line[mix.inner[i].index * mix.inner_stride]);
    sum += mix.outer[o].weight * partial;
  }
  narrow(sum, mix.to[c]);
}

// The count of inner entries is mostly 1 to 4.
template <class T, int kPacks, Write kWrite>
PV_HD void mix_block(const Mix<T>& mix, int64_t c) {
  if constexpr (kPacks == 0) return mix_one<T, kWrite>(mix, c);
  switch (mix.inner_count) {
    case 1: return mix_packs<T, kPacks, 1, kWrite>(mix, c);
    case 2: return mix_packs<T, kPacks, 2, kWrite>(mix, c);
    case 3: return mix_packs<T, kPacks, 3, kWrite>(mix, c);
    case 4: return mix_packs<T, kPacks, 4, kWrite>(mix, c);
    default: return mix_packs<T, kPacks, 0, kWrite>(mix, c);
  }
}

// Channels [c, c + kPacks packs) of every place; kPacks = 0: the single channel c.
template <class T, int kPacks, bool kRowsFirst, Write kWrite>
void resample_block(const Resample& r, int64_t c) {
  using A = typename Wide<T>::type;
  const Table<A>& rows = *static_cast<const Table<A>*>(r.rows);
  const Table<A>& columns = *static_cast<const Table<A>*>(r.columns);
  Mix<T> mix{};
  mix.from = static_cast<const T*>(r.from.data);
  mix.inner_stride = kRowsFirst ? r.from.row : r.from.column;
  mix.outer_stride = kRowsFirst ? r.from.column : r.from.row;
  for (int32_t i = 0; i < rows.size; ++i) {
    for (int32_t j = 0; j < columns.size; ++j) {
      const Entry<A>* row = rows.entries + rows.begin[i];
      const Entry<A>* column = columns.entries + columns.begin[j];
      const int32_t in_row = rows.begin[i + 1] - rows.begin[i];
      const int32_t in_column = columns.begin[j + 1] - columns.begin[j];
      if (kWrite == Write::add && (in_row == 0 || in_column == 0)) continue;
      mix.inner = kRowsFirst ? row : column;
      mix.inner_count = kRowsFirst ? in_row : in_column;
      mix.outer = kRowsFirst ? column : row;
      mix.outer_count = kRowsFirst ? in_column : in_row;
      mix.to = static_cast<T*>(r.to.data) + i * r.to.row + j * r.to.column;
      mix_block<T, kPacks, kWrite>(mix, c);
    }
  }
}

template <class T, bool kRowsFirst, Write kWrite>
void resample_blocks(const Resample& r) {
  constexpr int kPacks = kBlockParts / Pack<T>::kParts;
  constexpr int64_t kCount = Pack<T>::kCount;
  int64_t c = 0;
  for (; c + kPacks * kCount <= r.channels; c += kPacks * kCount)
    resample_block<T, kPacks, kRowsFirst, kWrite>(r, c);
  for (; c + kCount <= r.channels; c += kCount) resample_block<T, 1, kRowsFirst, kWrite>(r, c);
  for (; c < r.channels; ++c) resample_block<T, 0, kRowsFirst, kWrite>(r, c);
}

template <class T>
bool is_aligned(const Window& window) {
  const auto offsets = static_cast<uint64_t>(window.row | window.column) * sizeof(T);
  return (reinterpret_cast<uintptr_t>(window.data) | offsets) % PV_VECTOR_BYTES == 0;
}

// Sums over rows first and then over columns, and writes. A block of channels of the whole window
// at a time: what neighbouring places share is still in the cache.
template <class T>
void write_channels(const Resample& r) {
  if (r.past_cache && is_aligned<T>(r.to)) {
    resample_blocks<T, true, Write::stream>(r);
    finish_streaming();
  } else {
    resample_blocks<T, true, Write::store>(r);
  }
}

// Sums over columns first and then over rows, and adds.
template <class T>
void add_channels(const Resample& r) {
  resample_blocks<T, false, Write::add>(r);
}

}  // namespace
}  // namespace pyvqa
