// Included before everything else: the CUDA kernels become CPU kernels of a namespace of their own,
// torch.ops.pyvqa_host_cuda, so that any test can call them beside torch.ops.pyvqa.
#pragma once

#include <torch/csrc/stable/library.h>

#undef STABLE_TORCH_LIBRARY
#define STABLE_TORCH_LIBRARY(space, m) _STABLE_TORCH_LIBRARY_FRAGMENT(pyvqa_host_cuda, m, C10_UID)
#undef STABLE_TORCH_LIBRARY_IMPL
#define STABLE_TORCH_LIBRARY_IMPL(space, key, m) \
  _STABLE_TORCH_LIBRARY_IMPL(pyvqa_host_cuda, CPU, m, C10_UID)
