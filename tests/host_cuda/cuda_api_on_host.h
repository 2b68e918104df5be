// The names of CUDA that kernels and launchers use, on top of cuda_on_host.h. What is missing does
// not compile: add it here when a kernel needs it.
#pragma once

#include "cuda_on_host.h"

// ---- barriers and warp-wide operations

inline void __syncthreads() { host_cuda::Block::current().barrier(false); }
inline int __syncthreads_count(int vote) {
  return host_cuda::Block::current().barrier(vote != 0).true_count;
}
inline int __syncthreads_or(int vote) { return __syncthreads_count(vote) > 0; }
inline int __syncthreads_and(int vote) {
  const host_cuda::Thread& me = host_cuda::Block::current().barrier(vote != 0);
  return me.true_count == me.thread_count;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  host_cuda::Block::current().warp(host_cuda::Collective::sync, mask, 0);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return host_cuda::shuffle(mask, value, host_cuda::segment_start(width) + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(host_cuda::Block::current().lane()),
            from = lane - static_cast<int>(delta);
  return host_cuda::shuffle(mask, value, from < host_cuda::segment_start(width) ? lane : from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(host_cuda::Block::current().lane()),
            from = lane + static_cast<int>(delta);
  return host_cuda::shuffle(mask, value,
                            from >= host_cuda::segment_start(width) + width ? lane : from);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const int lane = static_cast<int>(host_cuda::Block::current().lane()), from = lane ^ lanes;
  return host_cuda::shuffle(mask, value,
                            from >= host_cuda::segment_start(width) + width ? lane : from);
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
  const host_cuda::Thread& me =
      host_cuda::Block::current().warp(host_cuda::Collective::vote, mask, vote != 0);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((me.present >> lane & 1) && me.gathered[lane] != 0) ballot |= 1u << lane;
  return ballot;
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote == 0) == 0; }
template <class T>
unsigned __match_any_sync(unsigned mask, T value) {
  const uint64_t mine = host_cuda::to_bits(value);
  const host_cuda::Thread& me =
      host_cuda::Block::current().warp(host_cuda::Collective::match, mask, mine);
  unsigned same = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((me.present >> lane & 1) && me.gathered[lane] == mine) same |= 1u << lane;
  return same;
}

// ---- atomics: threads change places only where they wait, so plain operations are atomic

template <class T, class V>
T atomicAdd(T* at, V value) {
  const T old = *at;
  *at = static_cast<T>(old + static_cast<T>(value));
  return old;
}
template <class T, class V>
T atomicMax(T* at, V value) {
  const T old = *at;
  *at = std::max(old, static_cast<T>(value));
  return old;
}
template <class T, class V>
T atomicMin(T* at, V value) {
  const T old = *at;
  *at = std::min(old, static_cast<T>(value));
  return old;
}
template <class T, class V>
T atomicOr(T* at, V value) {
  const T old = *at;
  *at = old | static_cast<T>(value);
  return old;
}
template <class T, class V>
T atomicAnd(T* at, V value) {
  const T old = *at;
  *at = old & static_cast<T>(value);
  return old;
}
template <class T, class V>
T atomicExch(T* at, V value) {
  const T old = *at;
  *at = static_cast<T>(value);
  return old;
}
template <class T, class E, class V>
T atomicCAS(T* at, E expected, V value) {
  const T old = *at;
  if (old == static_cast<T>(expected)) *at = static_cast<T>(value);
  return old;
}

// ---- arithmetic

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __int_as_float(int x) { return host_cuda::from_bits<float>(host_cuda::to_bits(x)); }
inline int __float_as_int(float x) { return host_cuda::from_bits<int>(host_cuda::to_bits(x)); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
T __ldg(const T* at) {
  return *at;
}
#define HOST_CUDA_MIN_MAX(T)                       \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
HOST_CUDA_MIN_MAX(int)
HOST_CUDA_MIN_MAX(unsigned)
HOST_CUDA_MIN_MAX(long)
HOST_CUDA_MIN_MAX(unsigned long)
HOST_CUDA_MIN_MAX(float)
HOST_CUDA_MIN_MAX(double)
#undef HOST_CUDA_MIN_MAX

// ---- runtime: device memory is host memory, everything is synchronous

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
using cudaStream_t = struct HostCudaStream*;

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    default: return "invalid argument";
  }
}

namespace host_cuda {
inline cudaError_t last_error = cudaSuccess;
inline size_t allowed_dynamic_shared = 48 * 1024;  // more has to be asked for, as on a device
}  // namespace host_cuda

inline cudaError_t cudaGetLastError() { return std::exchange(host_cuda::last_error, cudaSuccess); }
inline cudaError_t cudaPeekAtLastError() { return host_cuda::last_error; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

// A device of capability 9.0 (PYVQA_HOST_CUDA_CAPABILITY = 75 asks for 7.5) and as much shared
// memory as that has (PYVQA_HOST_CUDA_SHARED asks for fewer bytes).
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const auto asked = [](const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::atoi(text);
  };
  const int capability = asked("PYVQA_HOST_CUDA_CAPABILITY", 90);
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = capability % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = asked("PYVQA_HOST_CUDA_SHARED", 227 * 1024);
      break;
    default: return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
  if (bytes < 0 || bytes > 227 * 1024) return cudaErrorInvalidValue;
  host_cuda::allowed_dynamic_shared = static_cast<size_t>(bytes);
  return cudaSuccess;
}

template <class T>
cudaError_t cudaMalloc(T** at, size_t bytes) {
  *at = static_cast<T*>(std::malloc(bytes));
  return *at == nullptr && bytes > 0 ? cudaErrorMemoryAllocation : cudaSuccess;
}
inline cudaError_t cudaFree(void* at) {
  std::free(at);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                                   cudaStream_t = nullptr) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t = nullptr) {
  if (bytes > 0) std::memset(at, value, bytes);
  return cudaSuccess;
}

namespace host_cuda {

inline bool valid(const cudaLaunchConfig_t& config) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  const bool grid_fits = grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffu &&
                         grid.y <= 65535 && grid.z <= 65535;
  const bool block_fits = block.x > 0 && block.y > 0 && block.z > 0 && block.x <= 1024 &&
                          block.y <= 1024 && block.z <= 64 &&
                          uint64_t{block.x} * block.y * block.z <= 1024;
  return grid_fits && block_fits && config.dynamicSmemBytes <= allowed_dynamic_shared;
}

inline void run_grid(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  dynamic_shared_memory.bytes = config.dynamicSmemBytes;
  dynamic_shared_memory.memory = std::make_unique<unsigned char[]>(config.dynamicSmemBytes);
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
        fill_shared();
        Block::current().run(kernel, config.blockDim);
      }
}

}  // namespace host_cuda

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (!host_cuda::valid(*config)) return host_cuda::last_error = cudaErrorInvalidConfiguration;
  host_cuda::run_grid(*config, [&] { kernel(static_cast<Parameters>(arguments)...); });
  return cudaSuccess;
}
