// Launching a kernel as a plain function call, so that the same source compiles under nvcc and,
// through tests/host_cuda, under an ordinary C++ compiler.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace pyvqa {
namespace {

// Blocks that cover `items` with `block` threads each; at least one, because an empty grid is an
// error, and few enough for the x dimension: kernels stride over what is left.
inline unsigned blocks_for(int64_t items, int block) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1;
  const int64_t blocks = (items + block - 1) / block;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > kMost ? kMost : blocks);
}

// The shared memory whose size the launch gives, inside a kernel.
#if defined(__CUDACC__)
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}
#else
template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(host_cuda::dynamic_shared());
}
#endif

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

}  // namespace
}  // namespace pyvqa
