// The CUDA kernels' face: device pointers and a stream; no torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "masks/masks_kernel.h"
#include "masks/match.h"

namespace pyvqa::masks {

cudaError_t launch_pack(const DenseMasks& masks, uint64_t* bits, cudaStream_t stream);
cudaError_t launch_unpack(const BitMasks& masks, uint8_t* bytes, cudaStream_t stream);
cudaError_t launch_extents(const BitMasks& masks, int32_t* extents, cudaStream_t stream);
cudaError_t launch_iou(const IouCall& call, cudaStream_t stream);

// `drops`: nms_words(order_count) words; `kept`: one number on the device. Waits for the stream and
// gives the number of masks kept.
int64_t nms_words(int64_t order_count);
cudaError_t launch_nms(const NmsCall& call, uint64_t* drops, int64_t* kept, int64_t* host_kept,
                       cudaStream_t stream);

// Offsets [N + 1] of the runs of packed masks. Waits for the stream and gives the last one.
cudaError_t launch_run_offsets(const BitMasks& masks, bool by_rows, int64_t* offsets,
                               int64_t* host_total, cudaStream_t stream);
cudaError_t launch_write_runs(const BitMasks& masks, bool by_rows, const int64_t* offsets,
                              int32_t* runs, cudaStream_t stream);
cudaError_t launch_bits_of_runs(const RunLists& lists, uint64_t* bits, cudaStream_t stream);

// memory: assignment_words(rows, columns) words for the optimal rule, 2 columns for the greedy one.
cudaError_t launch_match(const Overlaps& overlaps, MatchRule rule, int64_t* memory,
                         int64_t* matched, cudaStream_t stream);

}  // namespace pyvqa::masks
