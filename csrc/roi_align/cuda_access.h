// How CUDA threads read and write several channels of one pixel.
#pragma once

#include "common/half.h"
#include "roi_align/roi_align_kernel.h"

#include <cstdint>

// Before a loop of a few fixed turns, whose arrays then are registers.
#if defined(__CUDACC__)
#define PV_UNROLL _Pragma("unroll")
#else
#define PV_UNROLL
#endif

namespace pyvqa {
namespace {

// V channels of one pixel: side by side, in one access of up to 128 bits, or a stride apart.
template <class T, int V, bool kTogether>
struct Channels;

template <class T, int V>
struct Channels<T, V, true> {
  struct alignas(V * sizeof(T)) Block {
    T values[V];
  };
  template <class A>
  static __device__ __forceinline__ void read(const T* from, int64_t, int64_t, A (&to)[V]) {
    const Block block = *reinterpret_cast<const Block*>(from);
    PV_UNROLL
    for (int v = 0; v < V; ++v) to[v] = widen(block.values[v]);
  }
  template <class A>
  static __device__ __forceinline__ void write(T* to, int64_t, int64_t, const A (&from)[V]) {
    Block block;
    PV_UNROLL
    for (int v = 0; v < V; ++v) narrow(from[v], block.values[v]);
    *reinterpret_cast<Block*>(to) = block;
  }
};

// `left` channels are there: fewer than V at the end.
template <class T, int V>
struct Channels<T, V, false> {
  template <class A>
  static __device__ __forceinline__ void read(const T* from, int64_t stride, int64_t left,
                                              A (&to)[V]) {
    PV_UNROLL
    for (int v = 0; v < V; ++v) to[v] = v < left ? widen(from[v * stride]) : A(0);
  }
  template <class A>
  static __device__ __forceinline__ void write(T* to, int64_t stride, int64_t left,
                                               const A (&from)[V]) {
    PV_UNROLL
    for (int v = 0; v < V; ++v)
      if (v < left) narrow(from[v], to[v * stride]);
  }
};

// Calls f with a null pointer of the storage type.
template <class F>
cudaError_t for_storage(Storage storage, F f) {
  switch (storage) {
    case Storage::f32: return f(static_cast<const float*>(nullptr));
    case Storage::f64: return f(static_cast<const double*>(nullptr));
    case Storage::bf16: return f(static_cast<const BFloat16*>(nullptr));
    default: return f(static_cast<const Half*>(nullptr));
  }
}

// Whether channels can be taken V at a time from everywhere.
inline bool takes_blocks(const void* data, int64_t channel, int64_t a, int64_t b, int64_t c,
                         int64_t block, int64_t element_size) {
  const int64_t bytes = block * element_size;
  const bool whole = a % block == 0 && b % block == 0 && c % block == 0;
  return channel == 1 && whole && reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

}  // namespace
}  // namespace pyvqa
