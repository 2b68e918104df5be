// Stands in for csrc/common/cuda_stream.h: tensors are on the host, and there is one stream.
#pragma once

#include <cuda_runtime_api.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

namespace pyvqa {
namespace {

class CudaScope {
 public:
  explicit CudaScope(const torch::stable::Tensor&) {}
  cudaStream_t stream() const { return nullptr; }
};

inline void check_launch(cudaError_t status, const char* kernel) {
  STD_TORCH_CHECK(status == cudaSuccess, kernel,
                  ": the CUDA launch failed: ", cudaGetErrorString(status));
}

}  // namespace
}  // namespace pyvqa
