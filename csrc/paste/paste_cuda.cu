// A block works on some rows of one canvas, a warp on 128 pixels of a row at a time: every lane
// decides four pixels, and the votes of a warp are the bits of the packed form.
#include "paste/paste_cuda.h"

#include "common/launch.h"
#include "paste/paste.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 256;
constexpr int kWarps = kBlock / 32;
constexpr int kRows = 16;  // of a canvas that a block works on
constexpr int kTile = 128;
constexpr unsigned kAll = 0xffffffffu;

// The mask that a block works on.
struct Source {
  const float* pixels;
  PasteRegion region;
  float x_scale, y_scale;
  bool small;
};

__device__ Source find_source(const PasteCall& call, int64_t mask) {
  Source s{call.masks + mask * call.mask_stride, paste_region(call, mask), 0.f, 0.f, false};
  if (s.region.empty()) return s;
  s.x_scale = paste_scale(call.mask_width + 2, s.region.x.size);
  s.y_scale = paste_scale(call.mask_height + 2, s.region.y.size);
  s.small = paste_is_small(call, s.region);
  return s;
}

// A pixel of the mask with its border of zeros.
__device__ float bordered(const PasteCall& call, const float* pixels, int32_t y, int32_t x) {
  const bool inside = y > 0 && y <= call.mask_height && x > 0 && x <= call.mask_width;
  return inside ? pixels[(y - 1) * call.row_stride + (x - 1) * call.column_stride] : 0.f;
}

__device__ bool decide(const PasteCall& call, const Source& s, const Tap& y, int32_t column) {
  const PasteSpan& across = s.region.x;
  if (column < across.begin || column >= across.end) return false;
  const Tap x = paste_tap(column - across.first, across.size, call.mask_width + 2, s.x_scale);
  const float a = bordered(call, s.pixels, y.first, x.first);
  const float b = bordered(call, s.pixels, y.first, x.second);
  const float c = bordered(call, s.pixels, y.second, x.first);
  const float d = bordered(call, s.pixels, y.second, x.second);
  float value;
  if (s.small) {
    const float weights[4] = {
        times(y.first_weight, x.first_weight), times(y.first_weight, x.second_weight),
        times(y.second_weight, x.first_weight), times(y.second_weight, x.second_weight)};
    value = blend_four(weights, a, b, c, d);
  } else {
    value = blend(y.first_weight, blend(x.first_weight, a, x.second_weight, b), y.second_weight,
                  blend(x.first_weight, c, x.second_weight, d));
  }
  return call.detectron ? value > call.threshold : value >= call.threshold;
}

// The votes of a warp on 128 pixels: bit k of votes[j] is pixel 32 j + k.
__device__ void vote(const PasteCall& call, const Source& s, int32_t row, int32_t column,
                     unsigned (&votes)[4]) {
  const PasteRegion& region = s.region;
  for (unsigned& some : votes) some = 0;
  if (row < region.y.begin || row >= region.y.end) return;
  if (column >= region.x.end || column + kTile <= region.x.begin) return;
  const Tap y = paste_tap(row - region.y.first, region.y.size, call.mask_height + 2, s.y_scale);
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  for (int j = 0; j < 4; ++j) {
    votes[j] = __ballot_sync(kAll, decide(call, s, y, column + 32 * j + lane));
  }
}

__device__ void write_words(const PasteCall& call, int64_t row, int32_t column,
                            const unsigned (&votes)[4]) {
  const int64_t words = paste_words(call), word = column / 64;
  const unsigned lane = threadIdx.x % 32;
  if (lane > 1 || word + lane >= words) return;
  const unsigned low = lane == 0 ? votes[0] : votes[2], high = lane == 0 ? votes[1] : votes[3];
  static_cast<uint64_t*>(call.out)[row * words + word + lane] = uint64_t{high} << 32 | low;
}

__device__ void write_bytes(const PasteCall& call, int64_t row, int32_t column,
                            const unsigned (&votes)[4]) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32), first = column + 4 * lane;
  const unsigned low = lane < 8 ? votes[0] : votes[1], high = lane < 24 ? votes[2] : votes[3];
  const unsigned four = (lane < 16 ? low : high) >> (lane % 8 * 4) & 0xf;
  const unsigned bytes = four * 0x00204081u & 0x01010101u;  // bit k to byte k
  uint8_t* const out = static_cast<uint8_t*>(call.out) + row * call.width + first;
  if (call.width % 4 == 0) {
    if (first < call.width) *reinterpret_cast<unsigned*>(out) = bytes;
    return;
  }
  for (int k = 0; k < 4 && first + k < call.width; ++k) {
    out[k] = static_cast<uint8_t>(bytes >> 8 * k);
  }
}

__global__ void __launch_bounds__(kBlock) paste_rows(PasteCall call, int64_t bands) {
  const int32_t warp = static_cast<int32_t>(threadIdx.x / 32);
  const int32_t tiles = (call.width + kTile - 1) / kTile;
  for (int64_t job = blockIdx.x; job < call.count * bands; job += gridDim.x) {
    const int64_t mask = job / bands;
    const int32_t start = static_cast<int32_t>(job - mask * bands) * kRows;
    const int32_t rows = call.height - start < kRows ? call.height - start : kRows;
    const Source source = find_source(call, mask);
    for (int64_t k = warp; k < int64_t{rows} * tiles; k += kWarps) {
      const int32_t row = start + static_cast<int32_t>(k / tiles);
      const int32_t column = static_cast<int32_t>(k % tiles) * kTile;
      unsigned votes[4];
      vote(call, source, row, column, votes);
      if (call.packed) {
        write_words(call, mask * call.height + row, column, votes);
      } else {
        write_bytes(call, mask * call.height + row, column, votes);
      }
    }
  }
}

}  // namespace

cudaError_t launch_paste(const PasteCall& call, cudaStream_t stream) {
  const int64_t bands = (int64_t{call.height} + kRows - 1) / kRows;
  return launch(paste_rows, blocks_for(call.count * bands, 1), kBlock, 0, stream, call, bands);
}

}  // namespace pyvqa
