// Planes on AVX-512, for windows of up to 32 columns, which two registers hold: mixing columns is
// then a permutation and a multiply-add for 16 places at a time. Only for that instruction set.
#pragma once

#include <immintrin.h>

#include "common/half.h"
#include "roi_align/roi_align_kernel.h"

namespace pyvqa {
namespace {

constexpr int32_t kMostSpan = 32;  // columns that are read
constexpr __mmask16 kAllLanes = 0xffff;

PV_HD __mmask16 first_lanes(int32_t count) {
  return count >= 16 ? kAllLanes : static_cast<__mmask16>((1u << (count < 0 ? 0 : count)) - 1u);
}

PV_HD __m512 load_lanes(const float* from, __mmask16 lanes) {
  return _mm512_maskz_loadu_ps(lanes, from);
}
PV_HD __m512 load_lanes(const BFloat16* from, __mmask16 lanes) {
  const __m256i bits = _mm256_maskz_loadu_epi16(lanes, from);
  return (__m512)_mm512_maskz_slli_epi32(kAllLanes, _mm512_maskz_cvtepu16_epi32(kAllLanes, bits),
                                         16);
}
PV_HD __m512 load_lanes(const Half* from, __mmask16 lanes) {
  return widened(_mm256_maskz_loadu_epi16(lanes, from));
}

PV_HD void store_lanes(float* to, __mmask16 lanes, __m512 values) {
  if (lanes == kAllLanes) {
    _mm512_storeu_ps(to, values);
  } else {
    _mm512_mask_storeu_ps(to, lanes, values);
  }
}
PV_HD void store_lanes(BFloat16* to, __mmask16 lanes, __m512 values) {
  const __m512i high =
      _mm512_maskz_srli_epi32(kAllLanes, (__m512i)Pack<BFloat16>::rounded((FloatVector)values), 16);
  _mm256_mask_storeu_epi16(to, lanes, _mm512_maskz_cvtepi32_epi16(kAllLanes, high));
}
PV_HD void store_lanes(Half* to, __mmask16 lanes, __m512 values) {
  _mm256_mask_storeu_epi16(to, lanes, narrowed(values));
}

// Mixes the 16 places of a group out of a line of up to 32 values. kDepth > 0: one group of that
// depth, which stays in registers.
template <int kDepth>
class LaneMixer {
 public:
  explicit LaneMixer(const LaneTable& table) : table_(table) {
#pragma GCC unroll 4
    for (int32_t k = 0; k < kDepth; ++k) {
      index_[k] = _mm512_load_si512(table.lanes[k].index);
      weight_[k] = _mm512_load_ps(table.lanes[k].weight);
      present_[k] = static_cast<__mmask16>(table.lanes[k].present);
    }
  }

  __attribute__((always_inline)) __m512 operator()(int32_t g, __m512 low, __m512 high) const {
    __m512 sum = _mm512_setzero_ps();
    if constexpr (kDepth > 0) {
#pragma GCC unroll 4
      for (int32_t k = 0; k < kDepth; ++k)
        sum = _mm512_fmadd_ps(weight_[k],
                              _mm512_maskz_permutex2var_ps(present_[k], low, index_[k], high), sum);
      return sum;
    }
    for (int32_t k = 0; k < table_.depth; ++k) {
      const Lanes& lanes = table_.lanes[g * table_.depth + k];
      const __m512 values = _mm512_maskz_permutex2var_ps(static_cast<__mmask16>(lanes.present), low,
                                                         _mm512_load_si512(lanes.index), high);
      sum = _mm512_fmadd_ps(_mm512_load_ps(lanes.weight), values, sum);
    }
    return sum;
  }

 private:
  const LaneTable& table_;
  __m512i index_[kDepth + 1];
  __m512 weight_[kDepth + 1];
  __mmask16 present_[kDepth + 1];
};

PV_HD bool lanes_suit(const Resample& r) {
  return r.column_lanes.lanes != nullptr && r.column_span <= kMostSpan && r.from.column == 1 &&
         r.to.column == 1;
}

template <class T, int kDepth>
void forward_lanes_of(const Resample& r) {
  const Table<float>& rows = *static_cast<const Table<float>*>(r.rows);
  const Table<float>& columns = *static_cast<const Table<float>*>(r.columns);
  const LaneMixer<kDepth> mix(r.column_lanes);
  const int32_t groups = kDepth > 0 ? 1 : r.column_lanes.groups;
  const __mmask16 low_lanes = first_lanes(r.column_span),
                  high_lanes = first_lanes(r.column_span - 16);
  const int32_t cells = rows.size * columns.size;
  for (int64_t c = 0; c < r.channels; ++c) {
    const T* plane = static_cast<const T*>(r.from.data) + c * r.from.channel + r.first_column;
    for (int32_t i = 0; i < rows.size; ++i) {
      __m512 low = _mm512_setzero_ps(), high = low;
      for (int32_t e = rows.begin[i]; e < rows.begin[i + 1]; ++e) {
        const T* from = plane + rows.entries[e].index * r.from.row;
        const __m512 weight = _mm512_set1_ps(rows.entries[e].weight);
        low = _mm512_fmadd_ps(weight, load_lanes(from, low_lanes), low);
        high = _mm512_fmadd_ps(weight, load_lanes(from + 16, high_lanes), high);
      }
      T* to = static_cast<T*>(r.to.data) + c * r.to.channel + i * r.to.row;
      for (int32_t g = 0; g < groups; ++g) {
        // Whole registers are stored faster than parts; what they cover too much comes next.
        const bool whole = r.to.row == columns.size && i * columns.size + 16 * g + 16 <= cells;
        const __mmask16 lanes = whole ? kAllLanes : first_lanes(columns.size - 16 * g);
        store_lanes(to + 16 * g, lanes, mix(g, low, high));
      }
    }
  }
}

template <class T>
void forward_lanes(const Resample& r) {
  switch (r.column_lanes.groups == 1 ? r.column_lanes.depth : 0) {
    case 2: return forward_lanes_of<T, 2>(r);
    case 3: return forward_lanes_of<T, 3>(r);
    case 4: return forward_lanes_of<T, 4>(r);
    default: return forward_lanes_of<T, 0>(r);
  }
}

// `bins` = the columns that are read from: all of them, so index 0 is the first.
inline void backward_lanes(const Resample& r, int32_t first, int32_t last) {
  const Table<float>& rows = *static_cast<const Table<float>*>(r.rows);
  const Table<float>& columns = *static_cast<const Table<float>*>(r.columns);
  const LaneTable& table = r.column_lanes;
  const __mmask16 low_lanes = first_lanes(r.column_span),
                  high_lanes = first_lanes(r.column_span - 16);
  const LaneMixer<0> mix(table);
  float* lines = static_cast<float*>(r.work);
  const int32_t pitch = 16 * table.groups;
  for (int64_t c = 0; c < r.channels; ++c) {
    for (int32_t a = first; a <= last; ++a) {
      const float* from = static_cast<const float*>(r.from.data) + c * r.from.channel +
                          a * r.from.row + r.first_column;
      const __m512 low = load_lanes(from, low_lanes);
      const __m512 high = high_lanes ? load_lanes(from + 16, high_lanes) : low;
      for (int32_t g = 0; g < table.groups; ++g)
        _mm512_storeu_ps(lines + (a - first) * pitch + 16 * g, mix(g, low, high));
    }
    for (int32_t i = 0; i < rows.size; ++i) {
      float* to = static_cast<float*>(r.to.data) + c * r.to.channel + i * r.to.row;
      for (int32_t g = 0; g < table.groups; ++g) {
        const __mmask16 lanes = first_lanes(columns.size - 16 * g);
        __m512 sum = load_lanes(to + 16 * g, lanes);
        for (int32_t e = rows.begin[i]; e < rows.begin[i + 1]; ++e)
          sum = _mm512_fmadd_ps(
              _mm512_set1_ps(rows.entries[e].weight),
              _mm512_loadu_ps(lines + (rows.entries[e].index - first) * pitch + 16 * g), sum);
        _mm512_mask_storeu_ps(to + 16 * g, lanes, sum);
      }
    }
  }
}

}  // namespace
}  // namespace pyvqa
