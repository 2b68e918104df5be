// Marks functions that run on the host and, under nvcc, on the device too.
#pragma once

#if defined(__CUDACC__)
#define PV_HD __host__ __device__ __forceinline__
#else
#define PV_HD inline __attribute__((always_inline))
#endif

// Before a loop over the W words of a set: a device unrolls it as far as its registers go.
#if defined(__CUDACC__)
#define PV_UNROLL_WORDS _Pragma("unroll (W > 2 ? 2 : W)")
#else
#define PV_UNROLL_WORDS
#endif
