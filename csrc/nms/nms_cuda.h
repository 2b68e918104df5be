// Launchers of the CUDA kernels; no torch. Nothing waits for the device.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace pyvqa {

// Boxes in the order in which they are looked at: the place p of a box is its rank, or, where there
// are groups, the p-th of the ranks sorted by group.
struct NmsDeviceJob {
  const void* boxes;  // float or double [N, 4]
  int64_t count;
  const int64_t* order;   // box at each rank
  const int64_t* ranks;   // rank at each place; null without groups
  const int64_t* groups;  // group at each place, ascending; null without groups
  bool wide;              // double
  const void* rule;       // Rule<float> or Rule<double>, on the host
  bool input_order;
  int64_t* keep;  // result [N]
  int64_t* kept;  // result: how many
  void* scratch;  // nms_scratch_bytes(count, wide)
};

int64_t nms_scratch_bytes(int64_t count, bool wide);

// Scores (float or double) -> int32 or int64 keys that ascend with the rank.
cudaError_t launch_nms_keys(const void* scores, bool wide, int64_t count, void* keys,
                            cudaStream_t stream);
// to[r] = from[order[r]]
cudaError_t launch_nms_gather(const int64_t* from, const int64_t* order, int64_t count, int64_t* to,
                              cudaStream_t stream);
cudaError_t launch_nms(const NmsDeviceJob& job, cudaStream_t stream);

}  // namespace pyvqa
