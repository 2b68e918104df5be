// The ops on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream, some regions at a time so that the working memory has a bound.
#include <algorithm>

#include "common/cuda_stream.h"
#include "pairwise/pairwise_check.h"
#include "pairwise/pairwise_cuda.h"

namespace pyvqa {
namespace {

constexpr int64_t kWorkBytes = int64_t{64} << 20;

Tensor bytes_like(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {count}, ScalarType::Byte);
}

// How many regions are worked on at a time if each takes so many bytes.
int64_t regions_at_once(const PairTensors& t, int64_t bytes) {
  const int64_t fit = kWorkBytes / std::max<int64_t>(1, bytes);
  return std::clamp<int64_t>(fit, 1, t.batch * t.sizes.regions);
}

CudaPairs pairs_of(const PairTensors& t) {
  CudaPairs pairs{};
  pairs.layout = *t.layout;
  pairs.sizes = t.sizes;
  pairs.left = t.left.data_ptr();
  pairs.right = t.right.data_ptr();
  pairs.wide = t.wide;
  return pairs;
}

std::tuple<Tensor, Tensor> pairwise_max_cuda(const Tensor& left, const Tensor& right,
                                             const Tensor& weight,
                                             const std::optional<Tensor>& bias,
                                             const std::optional<Tensor>& mask,
                                             const std::vector<int64_t>& sizes,
                                             const std::vector<int64_t>& ranks,
                                             const std::vector<int64_t>& groups, bool bfloat16) {
  const ForwardTensors t(left, right, weight, bias, mask, sizes, ranks, groups, bfloat16);
  if (t.is_empty()) return {t.out, t.argmax};
  const CudaScope scope(t.out);
  int32_t capability = 0, shared_bytes = 0;
  check_launch(device_limits(capability, shared_bytes), "pairwise");
  CudaForward job{pairs_of(t),
                  plan_tiles(t.sizes, bfloat16, capability),
                  t.weight.data_ptr(),
                  t.bias.has_value() ? t.bias->data_ptr() : nullptr,
                  nullptr,
                  t.out.data_ptr(),
                  t.argmax.mutable_data_ptr<int32_t>()};
  if (t.mask.has_value()) job.pairs.mask = static_cast<const uint8_t*>(t.mask->data_ptr());
  job.pairs.bfloat16 = bfloat16;
  const TilePlan& plan = job.plan;
  const int64_t each =
      plan.tiles ? plan.columns * plan.steps * 256
                 : t.sizes.regions * t.sizes.features * static_cast<int64_t>(t.out.element_size());
  const int64_t at_once = regions_at_once(t, each), regions = t.batch * t.sizes.regions;
  const Tensor features = bytes_like(t.out, at_once * each);
  const Tensor packed = bytes_like(t.out, plan.tiles ? plan.rows * plan.steps * 512 : 0);
  job.pairs.features = features.data_ptr();
  job.packed = packed.data_ptr();
  if (plan.tiles) check_launch(launch_pack_tiles(job, scope.stream()), "pairwise");
  for (int64_t first = 0; first < regions; first += at_once) {
    job.pairs.first = first;
    job.pairs.count = std::min(at_once, regions - first);
    check_launch(launch_features(job.pairs, plan, scope.stream()), "pairwise");
    check_launch(plan.tiles ? launch_largest_by_tiles(job, shared_bytes, scope.stream())
                            : launch_largest(job, scope.stream()),
                 "pairwise");
  }
  return {t.out, t.argmax};
}

std::tuple<Tensor, Tensor, Tensor> pairwise_max_backward_cuda(
    const Tensor& grad, const Tensor& left, const Tensor& right, const Tensor& weight,
    const Tensor& argmax, const std::vector<int64_t>& sizes, const std::vector<int64_t>& ranks,
    const std::vector<int64_t>& groups) {
  const BackwardTensors t(grad, left, right, weight, argmax, sizes, ranks, groups);
  if (t.is_empty()) return {t.left_grad, t.right_grad, t.weight_grad};
  const CudaScope scope(t.grad);
  CudaBackward job{pairs_of(t),
                   t.weight.data_ptr(),
                   t.grad.data_ptr(),
                   t.argmax.const_data_ptr<int32_t>(),
                   nullptr,
                   t.left_grad.data_ptr(),
                   t.right_grad.data_ptr(),
                   t.weight_grad.data_ptr()};
  const int64_t size = static_cast<int64_t>(t.grad.element_size());
  const int64_t row = t.sizes.regions * t.sizes.features * size,
                inverse = t.sizes.regions * t.layout->group_count * size;
  const int64_t at_once = regions_at_once(t, 2 * row + inverse);
  const Tensor features = bytes_like(t.grad, at_once * row),
               slopes = bytes_like(t.grad, at_once * row),
               inverses = bytes_like(t.grad, at_once * inverse);
  job.pairs.features = features.data_ptr();
  job.pairs.inverses = inverses.data_ptr();
  job.slopes = slopes.data_ptr();
  const int64_t regions = t.batch * t.sizes.regions;
  for (int64_t first = 0; first < regions; first += at_once) {
    job.pairs.first = first;
    job.pairs.count = std::min(at_once, regions - first);
    check_launch(launch_features(job.pairs, TilePlan{}, scope.stream()), "pairwise");
    check_launch(launch_pairwise_slopes(job, scope.stream()), "pairwise");
  }
  return {t.left_grad, t.right_grad, t.weight_grad};
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("pairwise_max", TORCH_BOX(&pyvqa::pairwise_max_cuda));
  m.impl("pairwise_max_backward", TORCH_BOX(&pyvqa::pairwise_max_backward_cuda));
}
