// The op on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream.
#include "paste/paste_cuda.h"

#include "common/cuda_stream.h"
#include "paste/paste_check.h"

namespace pyvqa {
namespace {

Tensor paste_masks_cuda(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width,
                        double threshold, bool detectron, bool packed) {
  const PasteTensors t(masks, boxes, height, width, threshold, detectron, packed);
  if (t.nothing_to_do()) return t.out;
  const CudaScope scope(t.out);
  check_launch(launch_paste(t.call, scope.stream()), "paste_masks");
  return t.out;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("paste_masks", TORCH_BOX(&pyvqa::paste_masks_cuda));
}
