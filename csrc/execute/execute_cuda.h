// The CUDA kernels' face: device pointers in an ExecuteCall, a scratch table and a stream; no
// torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "execute/execute_kernel.h"

namespace pyvqa {

// 64-bit words of scratch for `rows` programs on a table of `vocabulary` instructions: the checked
// table with two notes on it and, for sets wider than two words, the registers of the threads that
// run.
int64_t execute_scratch_words(int64_t vocabulary, int64_t rows, int64_t words_per_set);

// Both check the table on the device first (nothing is read back, the stream is never waited for)
// and ignore `call.registers` and the job's end id, which the check finds out.
cudaError_t launch_execute(const ExecuteCall& call, int64_t* scratch, cudaStream_t stream);
cudaError_t launch_verify(const ExecuteCall& call, int8_t* status, int64_t* scratch,
                          cudaStream_t stream);

}  // namespace pyvqa
