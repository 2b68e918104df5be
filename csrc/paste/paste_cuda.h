// The CUDA kernel's face: device pointers in a PasteCall and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include "paste/paste_kernel.h"

namespace pyvqa {

cudaError_t launch_paste(const PasteCall& call, cudaStream_t stream);

}  // namespace pyvqa
