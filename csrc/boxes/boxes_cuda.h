// The CUDA kernels' face: device pointers in the calls of the CPU side, and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include "boxes/codec_kernel.h"
#include "boxes/iou_kernel.h"

namespace pyvqa {

cudaError_t launch_box_iou(const IouCall& call, void* result, cudaStream_t stream);
// The gradient of `call.first`, four numbers a row.
cudaError_t launch_box_iou_backward(const IouCall& call, const IouGradient& gradient, void* to,
                                    cudaStream_t stream);
cudaError_t launch_encode_boxes(const CodecCall& call, void* result, cudaStream_t stream);
cudaError_t launch_encode_boxes_backward(const CodecCall& call, void* to_boxes, void* to_proposals,
                                         cudaStream_t stream);
cudaError_t launch_decode_boxes(const CodecCall& call, void* result, cudaStream_t stream);
cudaError_t launch_decode_boxes_backward(const CodecCall& call, void* to_offsets,
                                         void* to_proposals, cudaStream_t stream);
cudaError_t launch_clip_boxes(const CodecCall& call, double width, double height, void* result,
                              cudaStream_t stream);

}  // namespace pyvqa
