// A vector on the device, for drivers that run on a GPU and on the host alike.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

inline void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(2);
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    require(cudaMalloc(&data_, bytes()), "cudaMalloc");
    require(cudaMemcpyAsync(data_, values.data(), bytes(), cudaMemcpyHostToDevice, nullptr),
            "copy");
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }

  std::vector<T> host() const {
    std::vector<T> values(size_);
    require(cudaDeviceSynchronize(), "kernel");
    require(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, nullptr),
            "copy");
    require(cudaDeviceSynchronize(), "copy");
    return values;
  }

 private:
  size_t bytes() const { return size_ * sizeof(T); }

  T* data_ = nullptr;
  size_t size_;
};
