// The last product and its maximum on tensor cores, in bfloat16 with float32 sums.
//
// Outputs are the rows of the tiles and the pairs of one region their columns, so that a region of
// 36 pairs fills 40 columns; a warp sums 64 outputs against up to 40 pairs in registers, and the
// maximum needs its own columns and two exchanges in each group of four lanes. Blocks take some
// regions of which the features stay in shared memory, while their warps walk through the weights
// at about the same pace: these come from the second-level cache once for a block.
#include "pairwise/pairs_cuda.h"
#include "pairwise/pairwise_cuda.h"

namespace pyvqa {
namespace {

constexpr int kRowTiles = 4;      // of a warp: 64 outputs
constexpr int kMostTogether = 5;  // column tiles: 40 pairs
constexpr int kMostBlockRegions = 8;
constexpr int64_t kBlocksWanted = 528;  // four for each multiprocessor of a large device

// Words of a pair of features of some outputs, as the lanes of a warp hold them.
__global__ void __launch_bounds__(kPairBlock) pack_tiles(CudaForward job) {
  const PairSizes& sizes = job.pairs.sizes;
  const float* weight = static_cast<const float*>(job.weight);
  const int64_t words = job.plan.rows * job.plan.steps * 128;
  int64_t at = int64_t{blockIdx.x} * kPairBlock + threadIdx.x;
  for (; at < words; at += int64_t{gridDim.x} * kPairBlock) {
    const int word = static_cast<int>(at % 4), lane = static_cast<int>(at / 4 % 32);
    const int64_t step = at / 128 % job.plan.steps, tile = at / 128 / job.plan.steps;
    const int64_t d = tile * kTileRows + lane / 4 + word % 2 * 8;
    const int64_t k = step * kTileDepth + lane % 4 * 2 + word / 2 * 8;
    uint32_t packed = 0;
    for (int half = 0; half < 2; ++half) {
      if (d >= sizes.outputs || k + half >= sizes.features) continue;
      BFloat16 value;
      narrow(weight[d * sizes.features + k + half], value);
      packed |= uint32_t{value.bits} << 16 * half;
    }
    static_cast<uint32_t*>(job.packed)[at] = packed;
  }
}

struct alignas(16) RowWords {
  uint32_t word[4];
};
struct alignas(8) ColumnWords {
  uint32_t word[2];
};

// Sums 64 outputs against kTogether column tiles; `rows` and `columns` are this lane's words.
template <int kTogether>
__device__ __forceinline__ void sum_tiles(const RowWords* rows, const ColumnWords* columns,
                                          int64_t steps, float (&sums)[kRowTiles][kTogether][4]) {
  for (int64_t step = 0; step < steps; ++step) {
    RowWords row[kRowTiles];
    ColumnWords column[kTogether];
    PV_UNROLL_ALL
    for (int m = 0; m < kRowTiles; ++m) row[m] = rows[(m * steps + step) * 32];
    PV_UNROLL_ALL
    for (int n = 0; n < kTogether; ++n) column[n] = columns[(n * steps + step) * 32];
    PV_UNROLL_ALL
    for (int m = 0; m < kRowTiles; ++m) PV_UNROLL_ALL
    for (int n = 0; n < kTogether; ++n) multiply_tiles(sums[m][n], row[m].word, column[n].word);
  }
}

// The same outputs against all pairs of one region.
template <int kTogether>
__device__ void largest_of_tiles(const CudaForward& job, int64_t n, int64_t row_tile,
                                 const ColumnWords* columns, int lane) {
  const PairSizes& sizes = job.pairs.sizes;
  const int64_t steps = job.plan.steps, region = job.pairs.first + n;
  const int64_t image = region / sizes.regions * sizes.regions;
  const uint8_t* mask = job.pairs.mask;
  const RowWords* rows = static_cast<const RowWords*>(job.packed) + row_tile * steps * 32 + lane;
  Largest<float> best[kRowTiles][2];
  const bool takes_part = mask == nullptr || mask[region] != 0;
  for (int64_t tile = 0; takes_part && tile < job.plan.columns; tile += kTogether) {
    float sums[kRowTiles][kTogether][4] = {};
    sum_tiles<kTogether>(rows, columns + tile * steps * 32 + lane, steps, sums);
    PV_UNROLL_ALL
    for (int c = 0; c < kTogether; ++c) PV_UNROLL_ALL
    for (int side = 0; side < 2; ++side) {
      const int64_t j = (tile + c) * kTileColumns + lane % 4 * 2 + side;
      if (j >= sizes.regions || (mask != nullptr && mask[image + j] == 0)) continue;
      PV_UNROLL_ALL
      for (int m = 0; m < kRowTiles; ++m) {
        best[m][0].take(sums[m][c][side], static_cast<int32_t>(j));
        best[m][1].take(sums[m][c][2 + side], static_cast<int32_t>(j));
      }
    }
  }
  PV_UNROLL_ALL
  for (int m = 0; m < kRowTiles; ++m) PV_UNROLL_ALL
  for (int half = 0; half < 2; ++half) {
    Largest<float>& largest = best[m][half];
    PV_UNROLL_ALL
    for (int lanes = 1; lanes < 4; lanes *= 2) {
      const float value = __shfl_xor_sync(kWarp, largest.value, lanes);
      largest.join(value, __shfl_xor_sync(kWarp, largest.region, lanes));
    }
    const int64_t output = (row_tile + m) * kTileRows + half * 8 + lane / 4;
    if (lane % 4 != 0 || output >= sizes.outputs) continue;
    const bool known = largest.region >= 0;
    const float bias =
        job.bias == nullptr || !known ? 0.0f : static_cast<const float*>(job.bias)[output];
    static_cast<float*>(job.out)[region * sizes.outputs + output] =
        known ? largest.value + bias : 0.0f;
    job.argmax[region * sizes.outputs + output] = largest.region;
  }
}

// A block takes `regions` regions and every gridDim.y-th row of 64 outputs.
template <int kTogether, bool kShared>
__global__ void __launch_bounds__(kPairBlock, 1) largest_by_tiles(CudaForward job, int regions) {
  const int64_t words = region_tiles_size(job.plan.columns, job.plan.steps) / 4;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t row_blocks = job.plan.rows / kRowTiles;
  const int64_t groups = (job.pairs.count + regions - 1) / regions;
  for (int64_t group = blockIdx.x; group < groups; group += gridDim.x) {
    const int64_t first = group * regions, left = job.pairs.count - first;
    const int64_t count = left < regions ? left : regions;
    const ColumnWords* columns =
        static_cast<const ColumnWords*>(job.pairs.features) + first * words;
    if constexpr (kShared) {
      ColumnWords* shared = dynamic_shared<ColumnWords>();
      __syncthreads();
      for (int64_t at = threadIdx.x; at < count * words; at += kPairBlock) shared[at] = columns[at];
      __syncthreads();
      columns = shared;
    }
    const int64_t mine = (row_blocks - blockIdx.y + gridDim.y - 1) / gridDim.y;
    for (int64_t task = threadIdx.x / 32; task < mine * count; task += kPairWarps) {
      const int64_t n = task % count, row_block = task / count * gridDim.y + blockIdx.y;
      largest_of_tiles<kTogether>(job, first + n, row_block * kRowTiles, columns + n * words, lane);
    }
  }
}

template <int kTogether>
cudaError_t launch_together(const CudaForward& job, int32_t shared_bytes, cudaStream_t stream) {
  const int64_t bytes = region_tiles_size(job.plan.columns, job.plan.steps) * 2;
  const int64_t fit = shared_bytes / bytes;
  const int regions =
      static_cast<int>(fit < 1 || fit > kMostBlockRegions ? kMostBlockRegions : fit);
  const int64_t groups = (job.pairs.count + regions - 1) / regions;
  const int64_t row_blocks = job.plan.rows / kRowTiles;
  const int64_t wanted = (kBlocksWanted + groups - 1) / groups;
  const dim3 grid(blocks_for(groups, 1),
                  static_cast<unsigned>(wanted < row_blocks ? wanted : row_blocks));
  if (fit < 1)
    return launch(largest_by_tiles<kTogether, false>, grid, kPairBlock, 0, stream, job, regions);
  const auto kernel = largest_by_tiles<kTogether, true>;
  const int64_t used = regions * bytes;
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(used));
  if (status != cudaSuccess) return status;
  return launch(kernel, grid, kPairBlock, static_cast<size_t>(used), stream, job, regions);
}

}  // namespace

cudaError_t device_limits(int32_t& capability, int32_t& shared_bytes) {
  int device = 0, major = 0, minor = 0, bytes = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  capability = 10 * major + minor;
  shared_bytes = bytes;
  return status;
}

TilePlan plan_tiles(const PairSizes& sizes, bool bfloat16, int32_t capability) {
  TilePlan plan{};
  plan.tiles = bfloat16 && capability >= kLeastTileCapability;
  plan.steps = sizes.features > 0 ? (sizes.features + kTileDepth - 1) / kTileDepth : 1;
  const int64_t tiles = (sizes.regions + kTileColumns - 1) / kTileColumns;
  const int64_t turns = (tiles + kMostTogether - 1) / kMostTogether;
  plan.together = (tiles + turns - 1) / turns;
  plan.columns = turns * plan.together;
  constexpr int64_t kRowsOfWarp = kRowTiles * kTileRows;
  plan.rows = (sizes.outputs + kRowsOfWarp - 1) / kRowsOfWarp * kRowTiles;
  return plan;
}

cudaError_t launch_pack_tiles(const CudaForward& job, cudaStream_t stream) {
  const unsigned blocks = blocks_for(job.plan.rows * job.plan.steps * 128, kPairBlock);
  return launch(pack_tiles, blocks, kPairBlock, 0, stream, job);
}

cudaError_t launch_largest_by_tiles(const CudaForward& job, int32_t shared_bytes,
                                    cudaStream_t stream) {
  switch (job.plan.together) {
    case 1: return launch_together<1>(job, shared_bytes, stream);
    case 2: return launch_together<2>(job, shared_bytes, stream);
    case 3: return launch_together<3>(job, shared_bytes, stream);
    case 4: return launch_together<4>(job, shared_bytes, stream);
    default: return launch_together<5>(job, shared_bytes, stream);
  }
}

}  // namespace pyvqa
