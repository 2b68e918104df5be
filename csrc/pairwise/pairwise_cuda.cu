// Features of pairs, and the last product with its maximum in plain arithmetic.
#include "pairwise/pairs_cuda.h"
#include "pairwise/pairwise_cuda.h"

namespace pyvqa {
namespace {

// ---- features: a warp for every pair

template <class T>
__device__ __forceinline__ T product_of(const PairChunk& chunk, const T* left, const T* right,
                                        int32_t k) {
  T sum = T(0);
  for (int32_t r = 0; r < chunk.rank; ++r) {
    const int64_t at = chunk.factor + int64_t{r} * chunk.size + k;
    sum += left[at] * right[at];
  }
  return sum;
}

// Calls put(k, feature) for all features of a pair.
template <class T, class Put>
__device__ void warp_features(const PairLayout& layout, const T* left, const T* right, int lane,
                              T* inverses, const Put& put) {
  for (int32_t g = 0; g < layout.group_count; ++g) {
    const PairGroup& group = layout.groups[g];
    const PairChunk& only = layout.chunks[group.first];
    // One chunk of up to 64 features stays in registers; others are multiplied twice.
    const bool held = group.end == group.first + 1 && only.size <= 64;
    T low = T(0), high = T(0), sizes = T(0);
    if (held) {
      if (lane < only.size) low = product_of(only, left, right, lane);
      if (lane + 32 < only.size) high = product_of(only, left, right, lane + 32);
      sizes = size_of(low) + size_of(high);
    } else {
      for (int32_t c = group.first; c < group.end; ++c)
        for (int32_t k = lane; k < layout.chunks[c].size; k += 32)
          sizes += size_of(product_of(layout.chunks[c], left, right, k));
    }
    const T inverse = group.normalised ? inverse_of_sum(sum_of_warp(sizes)) : T(0);
    if (inverses != nullptr && lane == 0) inverses[g] = inverse;
    const auto finish = [&](int32_t k, T z) {
      put(k, group.normalised ? signed_root(z, inverse) : z);
    };
    if (held) {
      if (lane < only.size) finish(only.feature + lane, low);
      if (lane + 32 < only.size) finish(only.feature + lane + 32, high);
      continue;
    }
    for (int32_t c = group.first; c < group.end; ++c)
      for (int32_t k = lane; k < layout.chunks[c].size; k += 32)
        finish(layout.chunks[c].feature + k, product_of(layout.chunks[c], left, right, k));
  }
}

template <class T>
__global__ void __launch_bounds__(kPairBlock, sizeof(T) == 8 ? 2 : 4)
    write_features(CudaPairs job) {
  const PairSizes& sizes = job.sizes;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = int64_t{gridDim.x} * kPairWarps;
  int64_t pair = int64_t{blockIdx.x} * kPairWarps + threadIdx.x / 32;
  for (; pair < job.count * sizes.regions; pair += warps) {
    const int64_t region = job.first + pair / sizes.regions;
    const int64_t other = region / sizes.regions * sizes.regions + pair % sizes.regions;
    T* y = static_cast<T*>(job.features) + pair * sizes.features;
    T* inverses = job.inverses == nullptr
                      ? nullptr
                      : static_cast<T*>(job.inverses) + pair * job.layout.group_count;
    warp_features(
        job.layout, static_cast<const T*>(job.left) + region * sizes.factors,
        static_cast<const T*>(job.right) + other * sizes.factors, lane, inverses,
        [&](int32_t k, T value) { y[k] = job.bfloat16 ? rounded_to_bfloat16(value) : value; });
  }
}

// The same as tiles of bfloat16; what pads them is zero.
__global__ void __launch_bounds__(kPairBlock)
    write_feature_tiles(CudaPairs job, int64_t columns, int64_t steps) {
  const PairSizes& sizes = job.sizes;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t padded = columns * kTileColumns, warps = int64_t{gridDim.x} * kPairWarps;
  int64_t pair = int64_t{blockIdx.x} * kPairWarps + threadIdx.x / 32;
  for (; pair < job.count * padded; pair += warps) {
    const int64_t n = pair / padded, column = pair % padded, region = job.first + n;
    BFloat16* tiles = static_cast<BFloat16*>(job.features) + n * region_tiles_size(columns, steps);
    const int64_t known = column < sizes.regions ? sizes.features : 0;
    for (int64_t k = known + lane; k < steps * kTileDepth; k += 32)
      tiles[place_in_tiles(column, k, steps)] = BFloat16{0};
    if (known == 0) continue;
    const int64_t other = region / sizes.regions * sizes.regions + column;
    warp_features(job.layout, static_cast<const float*>(job.left) + region * sizes.factors,
                  static_cast<const float*>(job.right) + other * sizes.factors, lane,
                  static_cast<float*>(nullptr), [&](int32_t k, float value) {
                    narrow(value, tiles[place_in_tiles(column, k, steps)]);
                  });
  }
}

// ---- the plain product: a block for 128 outputs of a region, 40 pairs at a time

constexpr int kOutputs = 128, kPairs = 40, kDepth = 16;
constexpr int kOwnOutputs = 4, kOwnPairs = 5;  // of a thread: 32 x 8 threads

template <class T>
struct Operands {
  T weights[kDepth][kOutputs];
  T features[kDepth][kPairs];
};

template <class T>
__device__ void load_operands(const CudaForward& job, int64_t output, const T* features,
                              int64_t first, int64_t depth, Operands<T>& to) {
  const PairSizes& sizes = job.pairs.sizes;
  const T* weight = static_cast<const T*>(job.weight);
  for (int at = threadIdx.x; at < kDepth * kOutputs; at += kPairBlock) {
    const int k = at % kDepth, d = at / kDepth;
    const bool known = depth + k < sizes.features && output + d < sizes.outputs;
    const T value = known ? weight[(output + d) * sizes.features + depth + k] : T(0);
    to.weights[k][d] = job.pairs.bfloat16 ? rounded_to_bfloat16(value) : value;
  }
  for (int at = threadIdx.x; at < kDepth * kPairs; at += kPairBlock) {
    const int k = at % kDepth, j = at / kDepth;
    const bool known = depth + k < sizes.features && first + j < sizes.regions;
    to.features[k][j] = known ? features[(first + j) * sizes.features + depth + k] : T(0);
  }
}

template <class T>
__device__ void multiply_operands(const Operands<T>& from, int row, int column,
                                  T (&sums)[kOwnOutputs][kOwnPairs]) {
  PV_UNROLL_ALL
  for (int k = 0; k < kDepth; ++k) {
    T weights[kOwnOutputs], features[kOwnPairs];
    PV_UNROLL_ALL
    for (int o = 0; o < kOwnOutputs; ++o) weights[o] = from.weights[k][row * kOwnOutputs + o];
    PV_UNROLL_ALL
    for (int p = 0; p < kOwnPairs; ++p) features[p] = from.features[k][column * kOwnPairs + p];
    PV_UNROLL_ALL
    for (int o = 0; o < kOwnOutputs; ++o) PV_UNROLL_ALL
    for (int p = 0; p < kOwnPairs; ++p) sums[o][p] += weights[o] * features[p];
  }
}

template <class T>
__device__ void write_largest(const CudaForward& job, int64_t region, int64_t output,
                              Largest<T> best) {
  const PairSizes& sizes = job.pairs.sizes;
  if (output >= sizes.outputs) return;
  const bool takes_part = best.region >= 0;
  T bias = T(0);
  if (job.bias != nullptr && takes_part) bias = static_cast<const T*>(job.bias)[output];
  static_cast<T*>(job.out)[region * sizes.outputs + output] = takes_part ? best.value + bias : T(0);
  job.argmax[region * sizes.outputs + output] = best.region;
}

template <class T>
__device__ void largest_of_region(const CudaForward& job, int64_t n, int64_t output,
                                  Operands<T>& operands) {
  const PairSizes& sizes = job.pairs.sizes;
  const int lane = static_cast<int>(threadIdx.x % 32), column = lane % 8;
  const int row = static_cast<int>(threadIdx.x / 32) * 4 + lane / 8;
  const int64_t region = job.pairs.first + n, image = region / sizes.regions * sizes.regions;
  const uint8_t* mask = job.pairs.mask;
  const T* features =
      static_cast<const T*>(job.pairs.features) + n * sizes.regions * sizes.features;
  Largest<T> best[kOwnOutputs];
  const bool takes_part = mask == nullptr || mask[region] != 0;
  for (int64_t first = 0; takes_part && first < sizes.regions; first += kPairs) {
    T sums[kOwnOutputs][kOwnPairs] = {};
    for (int64_t depth = 0; depth < sizes.features; depth += kDepth) {
      __syncthreads();
      load_operands(job, output, features, first, depth, operands);
      __syncthreads();
      multiply_operands(operands, row, column, sums);
    }
    PV_UNROLL_ALL
    for (int p = 0; p < kOwnPairs; ++p) {
      const int64_t j = first + column * kOwnPairs + p;
      if (j >= sizes.regions || (mask != nullptr && mask[image + j] == 0)) continue;
      PV_UNROLL_ALL
      for (int o = 0; o < kOwnOutputs; ++o) best[o].take(sums[o][p], static_cast<int32_t>(j));
    }
  }
  PV_UNROLL_ALL
  for (int o = 0; o < kOwnOutputs; ++o) {
    PV_UNROLL_ALL
    for (int lanes = 1; lanes < 8; lanes *= 2) {
      const T value = __shfl_xor_sync(kWarp, best[o].value, lanes);
      best[o].join(value, __shfl_xor_sync(kWarp, best[o].region, lanes));
    }
    if (column == 0) write_largest(job, region, output + row * kOwnOutputs + o, best[o]);
  }
}

template <class T>
__global__ void __launch_bounds__(kPairBlock, sizeof(T) == 8 ? 2 : 3)
    largest_outputs(CudaForward job) {
  __shared__ Operands<T> operands;
  for (int64_t n = blockIdx.x; n < job.pairs.count; n += gridDim.x)
    for (int64_t output = int64_t{blockIdx.y} * kOutputs; output < job.pairs.sizes.outputs;
         output += int64_t{gridDim.y} * kOutputs)
      largest_of_region<T>(job, n, output, operands);
}

constexpr unsigned kMostGridY = 65535;

}  // namespace

cudaError_t launch_features(const CudaPairs& job, const TilePlan& plan, cudaStream_t stream) {
  if (plan.tiles) {
    const unsigned blocks = blocks_for(job.count * plan.columns * kTileColumns, kPairWarps);
    return launch(write_feature_tiles, blocks, kPairBlock, 0, stream, job, plan.columns,
                  plan.steps);
  }
  const unsigned blocks = blocks_for(job.count * job.sizes.regions, kPairWarps);
  if (job.wide) return launch(write_features<double>, blocks, kPairBlock, 0, stream, job);
  return launch(write_features<float>, blocks, kPairBlock, 0, stream, job);
}

cudaError_t launch_largest(const CudaForward& job, cudaStream_t stream) {
  const int64_t tiles = (job.pairs.sizes.outputs + kOutputs - 1) / kOutputs;
  const dim3 grid(blocks_for(job.pairs.count, 1),
                  tiles < kMostGridY ? static_cast<unsigned>(tiles) : kMostGridY);
  if (job.pairs.wide) return launch(largest_outputs<double>, grid, kPairBlock, 0, stream, job);
  return launch(largest_outputs<float>, grid, kPairBlock, 0, stream, job);
}

}  // namespace pyvqa
