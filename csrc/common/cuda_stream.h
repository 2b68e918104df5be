// The stream that torch runs on, without torch's CUDA headers.
//
// Every CUDA build of torch since 2.10 exports the function below. It is declared weak, so a
// library that uses it links and loads beside a CPU-only torch, where it is null and no CUDA kernel
// is ever called.
#pragma once

#include <cuda_runtime_api.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/c/shim.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>

extern "C" __attribute__((weak)) AOTITorchError
aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);

namespace pyvqa {
namespace {

// Makes a tensor's device the current one for a scope and names the stream to launch on.
class CudaScope {
 public:
  explicit CudaScope(const torch::stable::Tensor& on) : guard_(on.get_device_index()) {
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr,
                    "this torch has no CUDA, but a CUDA tensor came in");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_get_current_cuda_stream(on.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }
  CudaScope(const CudaScope&) = delete;
  CudaScope& operator=(const CudaScope&) = delete;

  cudaStream_t stream() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_ = nullptr;
};

inline void check_launch(cudaError_t status, const char* kernel) {
  STD_TORCH_CHECK(status == cudaSuccess, kernel,
                  ": the CUDA launch failed: ", cudaGetErrorString(status));
}

}  // namespace
}  // namespace pyvqa
