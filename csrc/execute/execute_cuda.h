// The CUDA kernels' face: device pointers in an ExecuteCall, a scratch table and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "execute/execute_kernel.h"

namespace pyvqa {

// 64-bit words of scratch for a table of `vocabulary` instructions: the checked table and two notes on it.
inline constexpr int64_t execute_scratch_words(int64_t vocabulary) { return vocabulary + 2; }

// Both check the table on the device first (nothing is read back, the stream is never waited for) and
// ignore `call.registers` and the job's end id, which the check finds out.
cudaError_t launch_execute(const ExecuteCall& call, int64_t* scratch, cudaStream_t stream);
cudaError_t launch_verify(const ExecuteCall& call, int8_t* status, int64_t* scratch, cudaStream_t stream);

}  // namespace pyvqa
