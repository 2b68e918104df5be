// The ops on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream.
#include "common/cuda_stream.h"
#include "masks/masks_check.h"
#include "masks/masks_cuda.h"

namespace pyvqa::masks {
namespace {

Tensor words_like(const Tensor& like, int64_t words) {
  return torch::stable::new_empty(like, {words}, ScalarType::Long);
}

uint64_t* words_of(const Tensor& t) { return static_cast<uint64_t*>(t.mutable_data_ptr()); }

void measure(const PackedOutput& out, const BitMasks& shape, cudaStream_t stream) {
  const BitMasks masks{out.words(), shape.count, shape.height, shape.width};
  check_launch(launch_extents(masks, out.fields(), stream), "mask_extents");
}

std::tuple<Tensor, Tensor> pack_masks_cuda(const Tensor& tensor) {
  const DenseMasks masks = dense_masks("pack_masks", tensor);
  const CudaScope scope(tensor);
  const PackedOutput out(tensor, masks.count, masks.height, masks.width);
  if (out.empty()) return {out.bits, out.extents};
  check_launch(launch_pack(masks, out.words(), scope.stream()), "pack_masks");
  measure(out, {nullptr, masks.count, masks.height, masks.width}, scope.stream());
  return {out.bits, out.extents};
}

Tensor unpack_masks_cuda(const Tensor& bits, int64_t width) {
  const PackedTensor packed("unpack_masks", bits, width);
  const BitMasks& masks = packed.masks;
  const CudaScope scope(bits);
  const Tensor out =
      torch::stable::new_empty(bits, {masks.count, masks.height, width}, ScalarType::Bool);
  if (out.numel() == 0) return out;
  uint8_t* bytes = static_cast<uint8_t*>(out.mutable_data_ptr());
  check_launch(launch_unpack(masks, bytes, scope.stream()), "unpack_masks");
  return out;
}

Tensor mask_extents_cuda(const Tensor& bits, int64_t width) {
  const PackedTensor packed("mask_extents", bits, width);
  const CudaScope scope(bits);
  const Tensor out = torch::stable::new_empty(bits, {bits.size(0), kExtentFields}, ScalarType::Int);
  if (out.numel() == 0) return out;
  int32_t* fields = out.mutable_data_ptr<int32_t>();
  check_launch(launch_extents(packed.masks, fields, scope.stream()), "mask_extents");
  return out;
}

std::tuple<Tensor, Tensor> runs_of_packed(const BitMasks& masks, const Tensor& like, bool by_rows) {
  const CudaScope scope(like);
  const Tensor offsets = words_like(like, masks.count + 1);
  int64_t* ends = offsets.mutable_data_ptr<int64_t>();
  int64_t total = 0;
  check_launch(launch_run_offsets(masks, by_rows, ends, &total, scope.stream()), "mask_runs");
  const Tensor runs = torch::stable::new_empty(like, {total}, ScalarType::Int);
  if (total == 0) return {runs, offsets};
  int32_t* to = runs.mutable_data_ptr<int32_t>();
  check_launch(launch_write_runs(masks, by_rows, ends, to, scope.stream()), "mask_runs");
  return {runs, offsets};
}

std::tuple<Tensor, Tensor> mask_runs_cuda(const Tensor& tensor, int64_t width, bool by_rows) {
  if (tensor.scalar_type() == ScalarType::Long) {
    const PackedTensor packed("mask_runs", tensor, width);
    return runs_of_packed(packed.masks, tensor, by_rows);
  }
  const DenseMasks dense = dense_runs_input(tensor, width);
  const Tensor bits = std::get<0>(pack_masks_cuda(tensor));
  return runs_of_packed({words_of(bits), dense.count, dense.height, width}, tensor, by_rows);
}

std::tuple<Tensor, Tensor> masks_from_runs_cuda(const Tensor& runs, const Tensor& offsets,
                                                int64_t height, int64_t width, bool by_rows) {
  const RunTensors in("masks_from_runs", runs, offsets, height, width, by_rows);
  const CudaScope scope(runs);
  const PackedOutput out(runs, in.lists.count, height, width);
  if (out.empty()) return {out.bits, out.extents};
  check_launch(launch_bits_of_runs(in.lists, out.words(), scope.stream()), "masks_from_runs");
  measure(out, {nullptr, in.lists.count, height, width}, scope.stream());
  return {out.bits, out.extents};
}

Tensor dense_masks_from_runs_cuda(const Tensor& runs, const Tensor& offsets, int64_t height,
                                  int64_t width, bool by_rows) {
  constexpr const char* kName = "dense_masks_from_runs";
  const RunTensors in(kName, runs, offsets, height, width, by_rows);
  const CudaScope scope(runs);
  const int64_t count = in.lists.count;
  const Tensor out = torch::stable::new_empty(runs, {count, height, width}, ScalarType::Bool);
  if (out.numel() == 0) return out;
  const Tensor bits = words_like(runs, count * height * words_for(width));
  check_launch(launch_bits_of_runs(in.lists, words_of(bits), scope.stream()), kName);
  uint8_t* bytes = static_cast<uint8_t*>(out.mutable_data_ptr());
  check_launch(launch_unpack({words_of(bits), count, height, width}, bytes, scope.stream()), kName);
  return out;
}

Tensor mask_iou_cuda(const Tensor& a, const Tensor& a_extents, const Tensor& b,
                     const Tensor& b_extents, int64_t width, const std::optional<Tensor>& iscrowd,
                     bool iomin) {
  const IouTensors t(a, a_extents, b, b_extents, width, iscrowd);
  const CudaScope scope(a);
  if (t.out.numel() == 0) return t.out;
  check_launch(launch_iou(t.call(iomin), scope.stream()), "mask_iou");
  return t.out;
}

Tensor mask_nms_cuda(const Tensor& bits, const Tensor& extents, int64_t width, const Tensor& order,
                     double iou_threshold, double iomin_threshold) {
  const NmsTensors t(bits, extents, width, order);
  const CudaScope scope(bits);
  if (t.keep.numel() == 0) return t.keep;
  const NmsCall call = t.call(iou_threshold, iomin_threshold);
  const int64_t words = nms_words(call.order_count);
  const Tensor memory = words_like(bits, words + 1);
  int64_t kept = 0;
  check_launch(launch_nms(call, words_of(memory), memory.mutable_data_ptr<int64_t>() + words, &kept,
                          scope.stream()),
               "mask_nms");
  return t.kept(kept);
}

Tensor match_masks_cuda(const Tensor& overlap, double threshold, int64_t rule) {
  const MatchTensors t(overlap, threshold, rule);
  const CudaScope scope(overlap);
  if (t.matched.numel() == 0) return t.matched;
  const int64_t rows = t.overlaps.rows, columns = t.overlaps.columns;
  const int64_t words = t.rule == MatchRule::optimal  ? assignment_words(rows, columns)
                        : t.rule == MatchRule::greedy ? 2 * columns
                                                      : 0;
  const Tensor memory = words_like(overlap, words);
  check_launch(launch_match(t.overlaps, t.rule, memory.mutable_data_ptr<int64_t>(),
                            t.matched.mutable_data_ptr<int64_t>(), scope.stream()),
               "match_masks");
  return t.matched;
}

}  // namespace
}  // namespace pyvqa::masks

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("pack_masks", TORCH_BOX(&pyvqa::masks::pack_masks_cuda));
  m.impl("unpack_masks", TORCH_BOX(&pyvqa::masks::unpack_masks_cuda));
  m.impl("mask_extents", TORCH_BOX(&pyvqa::masks::mask_extents_cuda));
  m.impl("mask_runs", TORCH_BOX(&pyvqa::masks::mask_runs_cuda));
  m.impl("masks_from_runs", TORCH_BOX(&pyvqa::masks::masks_from_runs_cuda));
  m.impl("dense_masks_from_runs", TORCH_BOX(&pyvqa::masks::dense_masks_from_runs_cuda));
  m.impl("mask_iou", TORCH_BOX(&pyvqa::masks::mask_iou_cuda));
  m.impl("mask_nms", TORCH_BOX(&pyvqa::masks::mask_nms_cuda));
  m.impl("match_masks", TORCH_BOX(&pyvqa::masks::match_masks_cuda));
}
