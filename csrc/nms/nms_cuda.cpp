// The ops on CUDA tensors: the checks of the CPU side, launched on torch's current stream.
#include "common/cuda_stream.h"
#include "nms/nms_check.h"
#include "nms/nms_cuda.h"

#include <array>

namespace pyvqa {
namespace {

struct Sorted {
  Tensor values, order;
};

// A stable ascending sort of integers: torch's own, which differs between devices only in floats.
Sorted sort(const Tensor& keys) {
  const std::optional<bool> stable(true);
  const int64_t dim = 0;
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(keys), torch::stable::detail::from(stable),
      torch::stable::detail::from(dim), torch::stable::detail::from(false)};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

Sorted sort_scores(const NmsTensors& t, cudaStream_t stream) {
  const bool wide = t.scores.scalar_type() == ScalarType::Double;
  const Tensor keys =
      torch::stable::new_empty(t.scores, {t.count}, wide ? ScalarType::Long : ScalarType::Int);
  check_launch(
      launch_nms_keys(t.scores.const_data_ptr(), wide, t.count, keys.mutable_data_ptr(), stream),
      "nms");
  return sort(keys);
}

Sorted sort_groups(const NmsTensors& t, const Tensor& order, cudaStream_t stream) {
  const Tensor groups = torch::stable::new_empty(order, {t.count}, ScalarType::Long);
  check_launch(launch_nms_gather(t.idxs->const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>(),
                                 t.count, groups.mutable_data_ptr<int64_t>(), stream),
               "nms");
  return sort(groups);
}

std::tuple<Tensor, Tensor> run(const NmsTensors& t, double iou_threshold, bool inclusive,
                               bool suppress_equal, bool input_order, cudaStream_t stream) {
  const Tensor keep = torch::stable::new_empty(t.boxes, {t.count}, ScalarType::Long);
  if (t.count == 0) return {keep, torch::stable::new_zeros(t.boxes, {}, ScalarType::Long)};
  const Tensor kept = torch::stable::new_empty(t.boxes, {}, ScalarType::Long);
  const Tensor order = sort_scores(t, stream).order;
  Sorted groups;
  if (t.idxs.has_value()) groups = sort_groups(t, order, stream);
  const Tensor scratch =
      torch::stable::new_empty(t.boxes, {nms_scratch_bytes(t.count, t.wide)}, ScalarType::Byte);
  const Rule<float> narrow = rule_of<float>(iou_threshold, inclusive, suppress_equal);
  const Rule<double> wide = rule_of<double>(iou_threshold, inclusive, suppress_equal);
  NmsDeviceJob job{};
  job.boxes = t.boxes.const_data_ptr();
  job.count = t.count;
  job.order = order.const_data_ptr<int64_t>();
  if (t.idxs.has_value()) {
    job.ranks = groups.order.const_data_ptr<int64_t>();
    job.groups = groups.values.const_data_ptr<int64_t>();
  }
  job.wide = t.wide;
  job.rule = t.wide ? static_cast<const void*>(&wide) : &narrow;
  job.input_order = input_order;
  job.keep = keep.mutable_data_ptr<int64_t>();
  job.kept = kept.mutable_data_ptr<int64_t>();
  job.scratch = scratch.mutable_data_ptr();
  check_launch(launch_nms(job, stream), "nms");
  return {keep, kept};
}

std::tuple<Tensor, Tensor> nms_padded_cuda(const Tensor& boxes, const Tensor& scores,
                                           const std::optional<Tensor>& idxs, double iou_threshold,
                                           bool inclusive, bool suppress_equal, bool input_order) {
  const CudaScope scope(boxes);
  const NmsTensors tensors(boxes, scores, idxs);
  return run(tensors, iou_threshold, inclusive, suppress_equal, input_order, scope.stream());
}

// The one place that waits for the device: the size of the result has to be known.
Tensor nms_cuda(const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs,
                double iou_threshold, bool inclusive, bool suppress_equal, bool input_order) {
  const CudaScope scope(boxes);
  const NmsTensors tensors(boxes, scores, idxs);
  auto [keep, kept] =
      run(tensors, iou_threshold, inclusive, suppress_equal, input_order, scope.stream());
  int64_t count = 0;
  check_launch(cudaMemcpyAsync(&count, kept.const_data_ptr(), sizeof(count), cudaMemcpyDeviceToHost,
                               scope.stream()),
               "nms");
  check_launch(cudaStreamSynchronize(scope.stream()), "nms");
  return torch::stable::narrow(keep, 0, 0, count);
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("nms", TORCH_BOX(&pyvqa::nms_cuda));
  m.impl("nms_padded", TORCH_BOX(&pyvqa::nms_padded_cuda));
}
