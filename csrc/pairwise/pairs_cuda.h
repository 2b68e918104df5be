// What the CUDA kernels share: sums over a warp, which value wins, where a word of a tile lies.
#pragma once

#include <cuda_runtime.h>

#include "common/half.h"
#include "common/launch.h"
#include "common/mma.h"
#include "pairwise/pairwise.h"

#if defined(__CUDACC__)
#define PV_UNROLL_ALL _Pragma("unroll")
#else
#define PV_UNROLL_ALL
#endif

namespace pyvqa {
namespace {

constexpr unsigned kWarp = 0xffffffffu;
constexpr int kPairBlock = 256;
constexpr int kPairWarps = kPairBlock / 32;

template <class T>
__device__ __forceinline__ T sum_of_warp(T value) {
  PV_UNROLL_ALL
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kWarp, value, lanes);
  return value;
}

// The largest value so far and whose it is; -1: of nobody.
template <class T>
struct Largest {
  T value = T(0);
  int32_t region = -1;

  // Regions come in rising order: a larger value wins, and so does the first NaN.
  __device__ __forceinline__ void take(T other, int32_t other_region) {
    const bool wins = region < 0 || other > value || (other != other && value == value);
    if (!wins) return;
    value = other;
    region = other_region;
  }
  // Any order: of equal ones the first region wins.
  __device__ __forceinline__ void join(T other, int32_t other_region) {
    if (other_region < 0) return;
    const bool equal = other == value || (other != other && value != value);
    if (region >= 0 && equal && other_region > region) return;
    if (region >= 0 && equal) {
      region = other_region;
      return;
    }
    take(other, other_region);
  }
};

__device__ __forceinline__ float rounded_to_bfloat16(float value) {
  BFloat16 narrowed;
  narrow(value, narrowed);
  return widen(narrowed);
}
__device__ __forceinline__ double rounded_to_bfloat16(double value) { return value; }

// Where feature k of pair `column` of a region stands among the bfloat16 of the region's tiles.
__device__ __forceinline__ int64_t place_in_tiles(int64_t column, int64_t k, int64_t steps) {
  const int64_t tile = column / kTileColumns, step = k / kTileDepth;
  const int g = static_cast<int>(column % kTileColumns), at = static_cast<int>(k % kTileDepth);
  const int lane = 4 * g + at % 8 / 2, word = at / 8;
  return (((tile * steps + step) * 32 + lane) * 2 + word) * 2 + at % 2;
}

// bfloat16 of the tiles of one region.
PV_HD int64_t region_tiles_size(int64_t columns, int64_t steps) {
  return columns * steps * kTileColumns * kTileDepth;
}

}  // namespace
}  // namespace pyvqa
