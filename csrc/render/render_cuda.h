// The CUDA kernels' face: device pointers and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include "render/render_kernel.h"

namespace pyvqa {

size_t device_solid_bytes();
size_t device_view_bytes();
size_t device_lights_bytes();
int64_t device_map_floats();

cudaError_t launch_render_ids(const World& world, const Prepared& prepared, int16_t* ids,
                              cudaStream_t stream);
// `to.maps` has room for all pictures.
cudaError_t launch_render(const World& world, const Prepared& prepared, const Drawing& to,
                          cudaStream_t stream);
cudaError_t launch_render_boxes(const World& world, int64_t* boxes, cudaStream_t stream);

}  // namespace pyvqa
