// A warp's product of bfloat16 tiles on tensor cores: d += a * b, [16, 16] times [16, 8], summed in
// float32.
//
// Lane l holds, with g = l / 4 and t = l % 4 and two neighbouring numbers to a word (the first in
// the low half):
//   a[0] row g, columns 2t and 2t + 1     a[1] row g + 8, the same columns
//   a[2] row g, columns 2t + 8 and 2t + 9 a[3] row g + 8, the same columns
//   b[0] rows 2t and 2t + 1 of column g   b[1] rows 2t + 8 and 2t + 9 of column g
//   d[0], d[1] row g, columns 2t and 2t + 1, d[2], d[3] row g + 8, the same columns
// Devices have it from compute capability 8.0 on; the host stand-in gathers the lanes' words.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/half.h"

namespace pyvqa {
namespace {

constexpr int kTileRows = 16, kTileColumns = 8, kTileDepth = 16;
constexpr int kLeastTileCapability = 80;

#if defined(__CUDACC__)
__device__ __forceinline__ void multiply_tiles(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();  // launched on devices that have it only
  (void)d, (void)a, (void)b;
#endif
}
#else
inline float half_word(uint32_t word, int half) {
  return widen(BFloat16{static_cast<uint16_t>(word >> 16 * half)});
}

inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  for (int from = 0; from < 4; ++from) {  // the columns of a, the rows of b that these lanes hold
    uint32_t rows[4], columns[2][2];
    for (int word = 0; word < 4; ++word)
      rows[word] = __shfl_sync(0xffffffffu, a[word], 4 * g + from);
    for (int side = 0; side < 2; ++side)
      for (int word = 0; word < 2; ++word)
        columns[side][word] = __shfl_sync(0xffffffffu, b[word], 4 * (2 * t + side) + from);
    for (int out = 0; out < 4; ++out)
      for (int k = 0; k < 4; ++k)
        d[out] +=
            half_word(rows[k / 2 * 2 + out / 2], k % 2) * half_word(columns[out % 2][k / 2], k % 2);
  }
}
#endif

}  // namespace
}  // namespace pyvqa
