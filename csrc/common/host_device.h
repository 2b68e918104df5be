// Marks functions that run on the host and, under nvcc, on the device too.
#pragma once

#if defined(__CUDACC__)
#define PV_HD __host__ __device__ __forceinline__
#else
#define PV_HD inline __attribute__((always_inline))
#endif
