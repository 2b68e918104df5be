// The CUDA kernels' face: a RoiJob of device pointers and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "roi_align/roi_align_kernel.h"

namespace pyvqa {

// `job` is a RoiJob. Neither waits for the stream.
cudaError_t launch_roi_align(const void* job, Storage storage, cudaStream_t stream);

// Bytes of scratch for the gradient of some regions.
int64_t roi_align_scratch_bytes(int64_t rois);

// Writes every pixel of the levels: the gradient, or what is there plus the gradient.
cudaError_t launch_roi_align_backward(const void* job, Storage storage, bool add, void* scratch,
                                      cudaStream_t stream);

}  // namespace pyvqa
