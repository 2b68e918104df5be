// The gradient, following the pairs that won an output. Nothing is added by several threads at
// once: whatever adds up over regions is added by one thread, in their order.
#include "pairwise/pairs_cuda.h"
#include "pairwise/pairwise_cuda.h"

namespace pyvqa {
namespace {

constexpr int kHeld = 8;  // features of a lane at a time: 256 of a warp

// The winner of an output of region n, and its gradient; -1 where there is none.
template <class T>
__device__ __forceinline__ int32_t winner_of(const CudaBackward& job, int64_t n, int64_t output,
                                             T& grad) {
  const PairSizes& sizes = job.pairs.sizes;
  grad = T(0);
  if (output >= sizes.outputs) return -1;
  const int64_t at = (job.pairs.first + n) * sizes.outputs + output;
  const int32_t winner = job.argmax[at];
  if (winner < 0 || winner >= sizes.regions) return -1;
  grad = static_cast<const T*>(job.grad)[at];
  return grad == T(0) ? -1 : winner;
}

// Adds scale * from[k] for this lane's features from `first` on.
template <class T>
__device__ __forceinline__ void add_row(const T* from, T scale, int64_t first, int64_t features,
                                        T (&sums)[kHeld]) {
  PV_UNROLL_ALL
  for (int h = 0; h < kHeld; ++h)
    if (first + 32 * h < features) sums[h] += scale * from[first + 32 * h];
}

// The gradient of the features of pair (n, j): the rows of weights whose output it won.
template <class T>
__device__ void gather_weights(const CudaBackward& job, int64_t n, int64_t j, int lane, T* slopes) {
  const PairSizes& sizes = job.pairs.sizes;
  const T* weight = static_cast<const T*>(job.weight);
  for (int64_t first = lane; first - lane < sizes.features; first += 32 * kHeld) {
    T sums[kHeld] = {};
    for (int64_t output = 0; output < sizes.outputs; output += 32) {
      T grad;
      const bool won = winner_of(job, n, output + lane, grad) == j;
      unsigned left = __ballot_sync(kWarp, won);
      while (left != 0) {
        const int from = __ffs(static_cast<int>(left)) - 1;
        left &= left - 1;
        add_row(weight + (output + from) * sizes.features, __shfl_sync(kWarp, grad, from), first,
                sizes.features, sums);
      }
    }
    PV_UNROLL_ALL
    for (int h = 0; h < kHeld; ++h)
      if (first + 32 * h < sizes.features) slopes[first + 32 * h] = sums[h];
  }
}

template <class T>
__device__ void undo_roots_of_warp(const PairLayout& layout, const T* y, const T* inverses,
                                   int lane, T* slopes) {
  for (int32_t g = 0; g < layout.group_count; ++g) {
    const PairGroup& group = layout.groups[g];
    if (!group.normalised) continue;
    const T inverse = inverses[g];
    T along = T(0);
    for (int32_t k = lane; k < group.features; k += 32)
      along += y[group.feature + k] * slopes[group.feature + k];
    along = sum_of_warp(along);
    if (counts_as_constant(inverse)) along = T(0);
    for (int32_t k = lane; k < group.features; k += 32) {
      const int32_t at = group.feature + k;
      slopes[at] = root_slope(y[at], slopes[at], along, inverse);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kPairBlock, sizeof(T) == 8 ? 2 : 4)
    write_pair_slopes(CudaBackward job) {
  const CudaPairs& pairs = job.pairs;
  const PairSizes& sizes = pairs.sizes;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = int64_t{gridDim.x} * kPairWarps;
  int64_t pair = int64_t{blockIdx.x} * kPairWarps + threadIdx.x / 32;
  for (; pair < pairs.count * sizes.regions; pair += warps) {
    T* slopes = static_cast<T*>(job.slopes) + pair * sizes.features;
    gather_weights(job, pair / sizes.regions, pair % sizes.regions, lane, slopes);
    __syncwarp();
    undo_roots_of_warp(pairs.layout, static_cast<const T*>(pairs.features) + pair * sizes.features,
                       static_cast<const T*>(pairs.inverses) + pair * pairs.layout.group_count,
                       lane, slopes);
  }
}

// Calls run(factor, feature) for this thread's share of the factors.
template <class F>
__device__ __forceinline__ void for_own_factors(const PairLayout& layout, const F& run) {
  for (int32_t g = 0; g < layout.group_count; ++g)
    for (int32_t c = layout.groups[g].first; c < layout.groups[g].end; ++c) {
      const PairChunk& chunk = layout.chunks[c];
      const int64_t count = int64_t{chunk.size} * chunk.rank;
      for (int64_t at = threadIdx.x; at < count; at += kPairBlock)
        run(chunk.factor + at, chunk.feature + at % chunk.size);
    }
}

// A block for every region i: the sum over its pairs (i, j).
template <class T>
__global__ void __launch_bounds__(kPairBlock) write_left_slopes(CudaBackward job) {
  const CudaPairs& pairs = job.pairs;
  const PairSizes& sizes = pairs.sizes;
  for (int64_t n = blockIdx.x; n < pairs.count; n += gridDim.x) {
    const int64_t region = pairs.first + n;
    const T* slopes = static_cast<const T*>(job.slopes) + n * sizes.regions * sizes.features;
    const T* right =
        static_cast<const T*>(pairs.right) + region / sizes.regions * sizes.regions * sizes.factors;
    T* to = static_cast<T*>(job.left_grad) + region * sizes.factors;
    for_own_factors(pairs.layout, [&](int64_t factor, int64_t feature) {
      T sum = T(0);
      for (int64_t j = 0; j < sizes.regions; ++j)
        sum += slopes[j * sizes.features + feature] * right[j * sizes.factors + factor];
      to[factor] = sum;
    });
  }
}

// A block for every region j of the images that the job touches: the sum over the pairs (i, j).
template <class T>
__global__ void __launch_bounds__(kPairBlock) add_right_slopes(CudaBackward job) {
  const CudaPairs& pairs = job.pairs;
  const PairSizes& sizes = pairs.sizes;
  const int64_t first_image = pairs.first / sizes.regions;
  const int64_t images = (pairs.first + pairs.count - 1) / sizes.regions - first_image + 1;
  for (int64_t unit = blockIdx.x; unit < images * sizes.regions; unit += gridDim.x) {
    const int64_t image = first_image + unit / sizes.regions, j = unit % sizes.regions;
    const int64_t start = image * sizes.regions - pairs.first, stop = start + sizes.regions;
    const T* left = static_cast<const T*>(pairs.left) + pairs.first * sizes.factors;
    T* to = static_cast<T*>(job.right_grad) + (image * sizes.regions + j) * sizes.factors;
    for_own_factors(pairs.layout, [&](int64_t factor, int64_t feature) {
      T sum = to[factor];
      for (int64_t n = start < 0 ? 0 : start; n < (stop < pairs.count ? stop : pairs.count); ++n)
        sum +=
            static_cast<const T*>(job.slopes)[(n * sizes.regions + j) * sizes.features + feature] *
            left[n * sizes.factors + factor];
      to[factor] = sum;
    });
  }
}

// A warp for every output: the features of the pairs that won it.
template <class T>
__global__ void __launch_bounds__(kPairBlock) add_weight_slopes(CudaBackward job) {
  const PairSizes& sizes = job.pairs.sizes;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = int64_t{gridDim.x} * kPairWarps;
  int64_t output = int64_t{blockIdx.x} * kPairWarps + threadIdx.x / 32;
  for (; output < sizes.outputs; output += warps) {
    T* to = static_cast<T*>(job.weight_grad) + output * sizes.features;
    for (int64_t first = lane; first - lane < sizes.features; first += 32 * kHeld) {
      T sums[kHeld] = {};
      add_row(to, T(1), first, sizes.features, sums);
      for (int64_t n = 0; n < job.pairs.count; ++n) {
        T grad;
        const int32_t winner = winner_of(job, n, output, grad);
        if (winner < 0) continue;
        const T* features = static_cast<const T*>(job.pairs.features) +
                            (n * sizes.regions + winner) * sizes.features;
        add_row(features, grad, first, sizes.features, sums);
      }
      PV_UNROLL_ALL
      for (int h = 0; h < kHeld; ++h)
        if (first + 32 * h < sizes.features) to[first + 32 * h] = sums[h];
    }
  }
}

template <class T>
cudaError_t launch_slopes(const CudaBackward& job, cudaStream_t stream) {
  const PairSizes& sizes = job.pairs.sizes;
  const int64_t pairs = job.pairs.count * sizes.regions;
  const int64_t images =
      (job.pairs.first + job.pairs.count - 1) / sizes.regions - job.pairs.first / sizes.regions + 1;
  cudaError_t status =
      launch(write_pair_slopes<T>, blocks_for(pairs, kPairWarps), kPairBlock, 0, stream, job);
  if (status == cudaSuccess)
    status =
        launch(write_left_slopes<T>, blocks_for(job.pairs.count, 1), kPairBlock, 0, stream, job);
  if (status == cudaSuccess)
    status = launch(add_right_slopes<T>, blocks_for(images * sizes.regions, 1), kPairBlock, 0,
                    stream, job);
  if (status == cudaSuccess)
    status = launch(add_weight_slopes<T>, blocks_for(sizes.outputs, kPairWarps), kPairBlock, 0,
                    stream, job);
  return status;
}

}  // namespace

cudaError_t launch_pairwise_slopes(const CudaBackward& job, cudaStream_t stream) {
  return job.pairs.wide ? launch_slopes<double>(job, stream) : launch_slopes<float>(job, stream);
}

}  // namespace pyvqa
