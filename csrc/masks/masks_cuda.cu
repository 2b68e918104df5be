// Packing, extents, overlaps and suppression: a warp for each word or pair of masks.
#include "masks/masks_cuda.h"

#include "common/launch.h"
#include "masks/bits.h"

namespace pyvqa::masks {
namespace {

constexpr int kBlock = 256;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ int64_t thread_number() { return int64_t{blockIdx.x} * kBlock + threadIdx.x; }
__device__ int64_t thread_count() { return int64_t{gridDim.x} * kBlock; }

// A word of 64 pixels: the lanes vote on its halves.
__global__ void __launch_bounds__(kBlock) pack_words(DenseMasks m, uint64_t* bits) {
  const int64_t words = words_for(m.width), total = m.count * m.height * words;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int64_t k = thread_number() / kWarp; k < total; k += thread_count() / kWarp) {
    const int64_t row = k / words, n = row / m.height, y = row % m.height;
    const uint8_t* from = m.bytes + n * m.mask_stride + y * m.row_stride;
    uint64_t word = 0;
    for (int half = 0; half < 2; ++half) {
      const int64_t x = k % words * kWordBits + half * kWarp + lane;
      const bool one = x < m.width && from[x * m.column_stride] != 0;
      word |= uint64_t{__ballot_sync(kAllLanes, one)} << (half * kWarp);
    }
    if (lane == 0) bits[k] = word;
  }
}

__global__ void __launch_bounds__(kBlock) unpack_pixels(BitMasks m, uint8_t* bytes) {
  const int64_t words = words_for(m.width), total = m.count * m.height * m.width;
  for (int64_t k = thread_number(); k < total; k += thread_count()) {
    const int64_t x = k % m.width, row = k / m.width;
    bytes[k] = static_cast<uint8_t>(m.bits[row * words + x / kWordBits] >> (x % kWordBits) & 1);
  }
}

// A block for each mask.
__global__ void __launch_bounds__(kBlock) find_extents(BitMasks m, int32_t* extents) {
  __shared__ int left, top, right, bottom, area;
  const int64_t words = words_for(m.width), mask_words = m.height * words;
  for (int64_t n = blockIdx.x; n < m.count; n += gridDim.x) {
    if (threadIdx.x == 0) {
      left = top = INT32_MAX;
      right = bottom = area = 0;
    }
    __syncthreads();
    for (int64_t k = threadIdx.x; k < mask_words; k += kBlock) {
      const int64_t from = k % words * kWordBits;
      const uint64_t word = m.bits[n * mask_words + k] & low_bits(m.width - from);
      if (word == 0) continue;
      const int y = static_cast<int>(k / words), x = static_cast<int>(from);
      atomicMin(&left, x + lowest_one(word));
      atomicMax(&right, x + highest_one(word) + 1);
      atomicMin(&top, y);
      atomicMax(&bottom, y + 1);
      atomicAdd(&area, count_ones(word));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int32_t* out = extents + n * kExtentFields;
      out[0] = area == 0 ? 0 : left;
      out[1] = area == 0 ? 0 : top;
      out[2] = right;
      out[3] = bottom;
      out[4] = area;
    }
    __syncthreads();
  }
}

struct Mask {
  const uint64_t* bits;
  Extent extent;
};

__device__ Mask mask_at(const BitMasks& m, const int32_t* extents, int64_t n) {
  return {m.bits + n * m.height * words_for(m.width),
          clamped(extents + n * kExtentFields, m.height, m.width)};
}

// Pixels that two masks share, counted by a warp; every lane gets the number.
__device__ int common_pixels(const Mask& a, const Mask& b, int64_t words) {
  const Meeting m = meeting(a.extent, b.extent);
  if (m.empty()) return 0;
  const int across = m.last - m.first, total = (m.bottom - m.top) * across;
  int common = 0;
  for (int k = static_cast<int>(threadIdx.x % kWarp); k < total; k += kWarp) {
    const int64_t at = (m.top + k / across) * words + m.first + k % across;
    common += count_ones(a.bits[at] & b.bits[at]);
  }
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    common += __shfl_xor_sync(kAllLanes, common, lanes);
  }
  return common;
}

__global__ void __launch_bounds__(kBlock) iou_of_pairs(IouCall call) {
  const int64_t words = words_for(call.a.width), total = call.a.count * call.b.count;
  for (int64_t k = thread_number() / kWarp; k < total; k += thread_count() / kWarp) {
    const int64_t j = k % call.b.count;
    const Mask a = mask_at(call.a, call.a_extents, k / call.b.count);
    const Mask b = mask_at(call.b, call.b_extents, j);
    const int common = common_pixels(a, b, words);
    const bool crowd = call.crowd != nullptr && call.crowd[j] != 0;
    if (threadIdx.x % kWarp == 0) {
      call.out[k] = overlap_ratio(common, a.extent.area, b.extent.area, crowd, call.iomin);
    }
  }
}

// The number of the mask at a place of the order, or -1.
__device__ int64_t mask_in_order(const NmsCall& call, int64_t place) {
  const int64_t mask = call.order[place];
  return mask >= 0 && mask < call.masks.count ? mask : -1;
}

// Bit q of row p of `drops`: the mask at place p, if it is kept, drops the one at place q > p.
__global__ void __launch_bounds__(kBlock) find_drops(NmsCall call, unsigned long long* drops) {
  const int64_t count = call.order_count, row_words = words_for(count);
  for (int64_t k = thread_number() / kWarp; k < count * count; k += thread_count() / kWarp) {
    const int64_t p = k / count, q = k % count;
    const int64_t first = mask_in_order(call, p), second = mask_in_order(call, q);
    if (q <= p || first < 0 || second < 0) continue;  // the same for all lanes
    const Mask a = mask_at(call.masks, call.extents, first);
    const Mask b = mask_at(call.masks, call.extents, second);
    const int common = common_pixels(a, b, words_for(call.masks.width));
    const double iou = overlap_ratio(common, a.extent.area, b.extent.area, false, false);
    const double iomin = overlap_ratio(common, a.extent.area, b.extent.area, false, true);
    if (threadIdx.x % kWarp != 0) continue;
    if (iou > call.iou_threshold || iomin > call.iomin_threshold) {
      atomicOr(drops + p * row_words + q / kWordBits, 1ull << (q % kWordBits));
    }
  }
}

// One block goes through the order; the row behind the last collects what is dropped.
__global__ void __launch_bounds__(kBlock)
    keep_masks(NmsCall call, unsigned long long* drops, int64_t* kept) {
  const int64_t count = call.order_count, row_words = words_for(count);
  unsigned long long* dropped = drops + count * row_words;
  int64_t found = 0;
  for (int64_t p = 0; p < count; ++p) {
    const bool out = (dropped[p / kWordBits] >> (p % kWordBits) & 1) != 0;
    __syncthreads();
    if (out || mask_in_order(call, p) < 0) continue;
    for (int64_t w = p / kWordBits + threadIdx.x; w < row_words; w += kBlock) {
      dropped[w] |= drops[p * row_words + w];
    }
    if (threadIdx.x == 0) call.keep[found] = call.order[p];
    ++found;
    __syncthreads();
  }
  if (threadIdx.x == 0) *kept = found;
}

}  // namespace

cudaError_t launch_pack(const DenseMasks& masks, uint64_t* bits, cudaStream_t stream) {
  const int64_t words = masks.count * masks.height * words_for(masks.width);
  return launch(pack_words, blocks_for(words * kWarp, kBlock), kBlock, 0, stream, masks, bits);
}

cudaError_t launch_unpack(const BitMasks& masks, uint8_t* bytes, cudaStream_t stream) {
  const int64_t pixels = masks.count * masks.height * masks.width;
  return launch(unpack_pixels, blocks_for(pixels, kBlock), kBlock, 0, stream, masks, bytes);
}

cudaError_t launch_extents(const BitMasks& masks, int32_t* extents, cudaStream_t stream) {
  return launch(find_extents, blocks_for(masks.count, 1), kBlock, 0, stream, masks, extents);
}

cudaError_t launch_iou(const IouCall& call, cudaStream_t stream) {
  const int64_t pairs = call.a.count * call.b.count;
  return launch(iou_of_pairs, blocks_for(pairs * kWarp, kBlock), kBlock, 0, stream, call);
}

int64_t nms_words(int64_t order_count) { return (order_count + 1) * words_for(order_count); }

cudaError_t launch_nms(const NmsCall& call, uint64_t* drops, int64_t* kept, int64_t* host_kept,
                       cudaStream_t stream) {
  const int64_t count = call.order_count;
  unsigned long long* words = reinterpret_cast<unsigned long long*>(drops);
  cudaError_t status =
      cudaMemsetAsync(drops, 0, static_cast<size_t>(nms_words(count)) * sizeof(*drops), stream);
  if (status != cudaSuccess) return status;
  status =
      launch(find_drops, blocks_for(count * count * kWarp, kBlock), kBlock, 0, stream, call, words);
  if (status != cudaSuccess) return status;
  status = launch(keep_masks, 1, kBlock, 0, stream, call, words, kept);
  if (status != cudaSuccess) return status;
  status = cudaMemcpyAsync(host_kept, kept, sizeof(*kept), cudaMemcpyDeviceToHost, stream);
  return status == cudaSuccess ? cudaStreamSynchronize(stream) : status;
}

}  // namespace pyvqa::masks
