// The CUDA kernels' face: device pointers and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "pairwise/pairwise.h"
#include "pairwise/pairwise_kernel.h"

namespace pyvqa {

// Which products a device takes, and how its tiles lie in memory.
struct TilePlan {
  bool tiles;        // tensor cores; else plain products
  int64_t steps;     // of kTileDepth features
  int64_t together;  // column tiles that are summed at a time
  int64_t columns;   // column tiles of a region: a multiple of that
  int64_t rows;      // row tiles of outputs: a multiple of 4
};
TilePlan plan_tiles(const PairSizes& sizes, bool bfloat16, int32_t capability);

// The features of the pairs of some regions, from `first` on, in working memory.
struct CudaPairs {
  PairLayout layout;
  PairSizes sizes;
  const void *left, *right;
  const uint8_t* mask;   // or null: all take part
  bool wide, bfloat16;   // float64; rounded to bfloat16
  int64_t first, count;  // regions of all images
  void* features;        // [count, N, K], or tiles of words
  void* inverses;        // [count, N, groups] or null
};

struct CudaForward {
  CudaPairs pairs;
  TilePlan plan;
  const void *weight, *bias;
  void* packed;  // tiles of weights: plan.rows * plan.steps * 128 words
  void* out;
  int32_t* argmax;
};

struct CudaBackward {
  CudaPairs pairs;
  const void *weight, *grad;
  const int32_t* argmax;
  void* slopes;  // [count, N, K]
  void *left_grad, *right_grad, *weight_grad;
};

// None of them waits for the stream. launch_pack_tiles once, the rest for some regions at a time.
cudaError_t device_limits(int32_t& capability, int32_t& shared_bytes);
cudaError_t launch_pack_tiles(const CudaForward& job, cudaStream_t stream);
cudaError_t launch_features(const CudaPairs& job, const TilePlan& plan, cudaStream_t stream);
cudaError_t launch_largest(const CudaForward& job, cudaStream_t stream);
cudaError_t launch_largest_by_tiles(const CudaForward& job, int32_t shared_bytes,
                                    cudaStream_t stream);
cudaError_t launch_pairwise_slopes(const CudaBackward& job, cudaStream_t stream);

}  // namespace pyvqa
