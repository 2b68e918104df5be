// The ops on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream.
#include "common/cuda_stream.h"
#include "roi_align/roi_align_check.h"
#include "roi_align/roi_align_cuda.h"
#include "roi_align/windows.h"

namespace pyvqa {
namespace {

Tensor roi_align_cuda(const std::vector<Tensor>& features, const Tensor& rois,
                      const std::optional<Tensor>& levels, const std::vector<double>& scales,
                      int64_t height, int64_t width, int64_t sampling_ratio, bool aligned) {
  const RoiTensors t =
      prepare_pooling(features, rois, levels, scales, height, width, {sampling_ratio, aligned});
  if (t.is_empty()) return t.cells;
  const CudaScope scope(t.cells);
  check_launch(launch_roi_align(&t.job, storage_of(t.cells), scope.stream()), "roi_align");
  return t.cells;
}

void run_backward(const RoiTensors& t, bool add) {
  const CudaScope scope(t.cells);
  const Tensor scratch = torch::stable::new_empty(
      t.cells, {roi_align_scratch_bytes(t.job.roi_count)}, ScalarType::Byte);
  check_launch(launch_roi_align_backward(&t.job, storage_of(t.cells), add,
                                         scratch.mutable_data_ptr(), scope.stream()),
               "roi_align");
}

std::vector<Tensor> roi_align_backward_cuda(const Tensor& pooled, const Tensor& rois,
                                            const std::optional<Tensor>& levels,
                                            const std::vector<double>& scales,
                                            const std::vector<int64_t>& sizes,
                                            int64_t sampling_ratio, bool aligned,
                                            bool channels_last) {
  std::vector<Tensor> grads = empty_gradients(pooled, sizes, channels_last);
  const RoiTensors t =
      prepare_gradient(grads, pooled, rois, levels, scales, {sampling_ratio, aligned});
  run_backward(t, false);
  return grads;
}

void roi_align_add_gradient_cuda(const std::vector<Tensor>& grads, const Tensor& pooled,
                                 const Tensor& rois, const std::optional<Tensor>& levels,
                                 const std::vector<double>& scales, int64_t sampling_ratio,
                                 bool aligned) {
  const RoiTensors t =
      prepare_gradient(grads, pooled, rois, levels, scales, {sampling_ratio, aligned});
  if (!t.is_empty()) run_backward(t, true);
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&pyvqa::roi_align_cuda));
  m.impl("roi_align_backward", TORCH_BOX(&pyvqa::roi_align_backward_cuda));
  m.impl("roi_align_backward_", TORCH_BOX(&pyvqa::roi_align_add_gradient_cuda));
}
