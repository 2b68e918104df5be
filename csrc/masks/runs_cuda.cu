// Run lengths from and to packed masks: a block for each mask.
#include "common/launch.h"
#include "masks/bits.h"
#include "masks/masks_cuda.h"

namespace pyvqa::masks {
namespace {

constexpr int kBlock = 256;
constexpr int kWarp = 32;

// The sum of the values of the threads before this one, and of all; called by a whole block.
struct Prefix {
  int64_t before, all;
};

__device__ Prefix sum_before(int64_t value, int64_t* shared) {
  const int me = static_cast<int>(threadIdx.x);
  shared[me] = value;
  __syncthreads();
  for (int step = 1; step < kBlock; step *= 2) {
    const int64_t other = me >= step ? shared[me - step] : 0;
    __syncthreads();
    shared[me] += other;
    __syncthreads();
  }
  const Prefix sums{shared[me] - value, shared[kBlock - 1]};
  __syncthreads();
  return sums;
}

// A mask as lines of pixels: rows or columns, one after the other.
struct PixelLines {
  const uint64_t* bits;
  int64_t words, count, length;
  bool by_rows;

  __device__ PixelLines(const BitMasks& m, int64_t n, bool rows)
      : bits(m.bits + n * m.height * words_for(m.width)),
        words(words_for(m.width)),
        count(rows ? m.height : m.width),
        length(rows ? m.width : m.height),
        by_rows(rows) {}

  __device__ bool pixel(int64_t line, int64_t at) const {
    const int64_t y = by_rows ? line : at, x = by_rows ? at : line;
    return (bits[y * words + x / kWordBits] >> (x % kWordBits) & 1) != 0;
  }

  // Calls `emit` with the place of every change of value in a line, seen from the pixel before.
  template <class Emit>
  __device__ void changes(int64_t line, Emit&& emit) const {
    bool before = line > 0 && length > 0 && pixel(line - 1, length - 1);
    for (int64_t at = 0; at < length; ++at) {
      const bool now = pixel(line, at);
      if (now != before) emit(line * length + at);
      before = now;
    }
  }
};

__global__ void __launch_bounds__(kBlock) count_runs(BitMasks m, bool by_rows, int64_t* counts) {
  __shared__ int64_t shared[kBlock];
  for (int64_t n = blockIdx.x; n < m.count; n += gridDim.x) {
    const PixelLines lines(m, n, by_rows);
    int64_t found = 0;
    for (int64_t line = threadIdx.x; line < lines.count; line += kBlock) {
      lines.changes(line, [&](int64_t) { ++found; });
    }
    const Prefix sums = sum_before(found, shared);
    if (threadIdx.x == 0) counts[n] = sums.all + 1;
  }
}

// Turns N counts at offsets[1] .. offsets[N] into offsets, in one block.
__global__ void __launch_bounds__(kBlock) add_counts(int64_t* offsets, int64_t count) {
  __shared__ int64_t shared[kBlock];
  int64_t sum = 0;
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t n = from + threadIdx.x;
    const int64_t own = n < count ? offsets[n + 1] : 0;
    const Prefix sums = sum_before(own, shared);
    if (n < count) offsets[n + 1] = sum + sums.before + own;
    sum += sums.all;
  }
  if (threadIdx.x == 0) offsets[0] = 0;
}

// First the places where runs end, in order; then, from the last back, their differences.
__global__ void __launch_bounds__(kBlock)
    write_runs(BitMasks m, bool by_rows, const int64_t* offsets, int32_t* runs) {
  __shared__ int64_t shared[kBlock];
  for (int64_t n = blockIdx.x; n < m.count; n += gridDim.x) {
    const PixelLines lines(m, n, by_rows);
    int32_t* out = runs + offsets[n];
    int64_t done = 0;
    for (int64_t from = 0; from < lines.count; from += kBlock) {
      const int64_t line = from + threadIdx.x;
      int64_t found = 0;
      if (line < lines.count) lines.changes(line, [&](int64_t) { ++found; });
      const Prefix sums = sum_before(found, shared);
      int64_t at = done + sums.before;
      if (line < lines.count) {
        lines.changes(line, [&](int64_t place) { out[at++] = static_cast<int32_t>(place); });
      }
      done += sums.all;
    }
    if (threadIdx.x == 0) out[done] = static_cast<int32_t>(lines.count * lines.length);
    __syncthreads();
    for (int64_t last = done; last > 0; last -= kBlock) {
      const int64_t k = last - threadIdx.x;
      const int32_t run = k > 0 ? out[k] - out[k - 1] : 0;
      __syncthreads();
      if (k > 0) out[k] = run;
      __syncthreads();
    }
  }
}

// Sets the pixels begin .. end - 1 of all lines one after the other; a warp shares them.
__device__ void paint(const RunLists& lists, int64_t begin, int64_t end, unsigned long long* bits) {
  const int64_t length = lists.by_rows ? lists.width : lists.height;
  const int64_t words = words_for(lists.width);
  for (int64_t at = begin + threadIdx.x % kWarp; at < end; at += kWarp) {
    const int64_t line = at / length, place = at % length;
    const int64_t y = lists.by_rows ? line : place, x = lists.by_rows ? place : line;
    atomicOr(bits + y * words + x / kWordBits, 1ull << (x % kWordBits));
  }
}

// The bits must be 0. Whatever the lists hold, they are read as lines.h's paint_runs reads them.
__global__ void __launch_bounds__(kBlock) bits_of_runs(RunLists lists, unsigned long long* bits) {
  __shared__ int64_t shared[kBlock];
  __shared__ int64_t ends[kBlock + 1];
  const int64_t pixels = lists.height * lists.width;
  for (int64_t n = blockIdx.x; n < lists.count; n += gridDim.x) {
    const int64_t first = smaller(larger(lists.offsets[n], int64_t{0}), lists.total);
    const int64_t last = smaller(larger(lists.offsets[n + 1], first), lists.total);
    unsigned long long* mask = bits + n * lists.height * words_for(lists.width);
    int64_t sum = 0;
    for (int64_t from = first; from < last; from += kBlock) {
      const int64_t k = from + threadIdx.x;
      const int64_t own = k < last ? larger(lists.runs[k], 0) : 0;
      const Prefix sums = sum_before(own, shared);
      if (threadIdx.x == 0) ends[0] = smaller(sum, pixels);
      ends[threadIdx.x + 1] = smaller(sum + sums.before + own, pixels);
      __syncthreads();
      for (int r = static_cast<int>(threadIdx.x) / kWarp; r < kBlock; r += kBlock / kWarp) {
        if ((from - first + r) % 2 == 1) paint(lists, ends[r], ends[r + 1], mask);
      }
      __syncthreads();
      sum += sums.all;
    }
  }
}

}  // namespace

cudaError_t launch_run_offsets(const BitMasks& masks, bool by_rows, int64_t* offsets,
                               int64_t* host_total, cudaStream_t stream) {
  cudaError_t status = launch(count_runs, blocks_for(masks.count, 1), kBlock, 0, stream, masks,
                              by_rows, offsets + 1);
  if (status != cudaSuccess) return status;
  status = launch(add_counts, 1, kBlock, 0, stream, offsets, masks.count);
  if (status != cudaSuccess) return status;
  status = cudaMemcpyAsync(host_total, offsets + masks.count, sizeof(*offsets),
                           cudaMemcpyDeviceToHost, stream);
  return status == cudaSuccess ? cudaStreamSynchronize(stream) : status;
}

cudaError_t launch_write_runs(const BitMasks& masks, bool by_rows, const int64_t* offsets,
                              int32_t* runs, cudaStream_t stream) {
  return launch(write_runs, blocks_for(masks.count, 1), kBlock, 0, stream, masks, by_rows, offsets,
                runs);
}

cudaError_t launch_bits_of_runs(const RunLists& lists, uint64_t* bits, cudaStream_t stream) {
  const int64_t words = lists.count * lists.height * words_for(lists.width);
  const cudaError_t status =
      cudaMemsetAsync(bits, 0, static_cast<size_t>(words) * sizeof(*bits), stream);
  if (status != cudaSuccess) return status;
  return launch(bits_of_runs, blocks_for(lists.count, 1), kBlock, 0, stream, lists,
                reinterpret_cast<unsigned long long*>(bits));
}

}  // namespace pyvqa::masks
