#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "common/isa.h"
#include "masks/masks_check.h"
#include "masks/masks_kernel.h"
#include "masks/planes.h"

namespace pyvqa::masks {
namespace {

constexpr int64_t kGrainPixels = 1 << 17;  // pixels a thread takes at a time: about 10 us of work
constexpr int64_t kGrainPairs = 256;

// Masks a thread takes at a time.
int64_t grain(int64_t height, int64_t width) {
  return std::max<int64_t>(1, kGrainPixels / std::max<int64_t>(1, height * width));
}

// Memory of one thread for the kernels, all 0; pages that are never touched cost nothing.
class ThreadScratch {
 public:
  ThreadScratch(int64_t height, int64_t width)
      : words_(static_cast<uint64_t*>(
            std::calloc(static_cast<size_t>(Scratch::words(height, width)) + 1, 8))) {
    if (words_ == nullptr) throw std::bad_alloc();
  }
  ThreadScratch(const ThreadScratch&) = delete;
  ThreadScratch& operator=(const ThreadScratch&) = delete;
  ~ThreadScratch() { std::free(words_); }

  uint64_t* words() const { return words_; }

 private:
  uint64_t* words_;
};

std::tuple<Tensor, Tensor> pack_masks_cpu(const Tensor& tensor) {
  const DenseMasks masks = dense_masks("pack_masks", tensor);
  const PackedOutput out(tensor, masks.count, masks.height, masks.width);
  if (out.empty()) return {out.bits, out.extents};
  const auto kernel = PV_DISPATCH(pack_masks);
  torch::stable::parallel_for(
      0, masks.count, grain(masks.height, masks.width), [&](int64_t begin, int64_t end) {
        const ThreadScratch scratch(masks.height, masks.width);
        kernel(masks, out.words(), out.fields(), scratch.words(), begin, end);
      });
  return {out.bits, out.extents};
}

Tensor unpack_masks_cpu(const Tensor& bits, int64_t width) {
  const PackedTensor packed("unpack_masks", bits, width);
  const BitMasks& masks = packed.masks;
  const Tensor out =
      torch::stable::new_empty(bits, {masks.count, masks.height, width}, ScalarType::Bool);
  if (out.numel() == 0) return out;
  uint8_t* bytes = static_cast<uint8_t*>(out.mutable_data_ptr());
  const auto kernel = PV_DISPATCH(unpack_masks);
  torch::stable::parallel_for(
      0, masks.count, grain(masks.height, width),
      [&](int64_t begin, int64_t end) { kernel(masks, bytes, begin, end); });
  return out;
}

Tensor mask_extents_cpu(const Tensor& bits, int64_t width) {
  const PackedTensor packed("mask_extents", bits, width);
  const BitMasks& masks = packed.masks;
  const Tensor out = torch::stable::new_empty(bits, {masks.count, kExtentFields}, ScalarType::Int);
  int32_t* fields = out.mutable_data_ptr<int32_t>();
  const auto kernel = PV_DISPATCH(mask_extents);
  torch::stable::parallel_for(
      0, masks.count, grain(masks.height, width),
      [&](int64_t begin, int64_t end) { kernel(masks, fields, begin, end); });
  return out;
}

// The runs of some masks in a row, as one thread finds them.
struct RunChunk {
  std::vector<int32_t> runs;
  std::vector<int64_t> ends;

  static int32_t* room(void* owner, int64_t count) {
    RunChunk& self = *static_cast<RunChunk*>(owner);
    const size_t before = self.runs.size();
    self.runs.resize(before + static_cast<size_t>(count));
    self.ends.push_back(static_cast<int64_t>(self.runs.size()));
    return self.runs.data() + before;
  }
};

// Calls `find(scratch, sink, n)` for every mask and lays the runs one after the other.
template <class Find>
std::tuple<Tensor, Tensor> gather_runs(const Tensor& like, int64_t count, int64_t height,
                                       int64_t width, Find&& find) {
  const int64_t step = grain(height, width), chunk_count = (count + step - 1) / step;
  std::vector<RunChunk> chunks(static_cast<size_t>(chunk_count));
  torch::stable::parallel_for(0, chunk_count, 1, [&](int64_t begin, int64_t end) {
    const ThreadScratch scratch(height, width);
    for (int64_t c = begin; c < end; ++c) {
      const RunSink sink{&RunChunk::room, &chunks[static_cast<size_t>(c)]};
      for (int64_t n = c * step; n < std::min(count, (c + 1) * step); ++n) {
        find(scratch.words(), sink, n);
      }
    }
  });
  int64_t total = 0;
  for (const RunChunk& chunk : chunks) total += static_cast<int64_t>(chunk.runs.size());
  const Tensor runs = torch::stable::new_empty(like, {total}, ScalarType::Int);
  const Tensor offsets = torch::stable::new_empty(like, {count + 1}, ScalarType::Long);
  int32_t* to = runs.mutable_data_ptr<int32_t>();
  int64_t* offset = offsets.mutable_data_ptr<int64_t>();
  *offset++ = 0;
  int64_t before = 0;
  for (const RunChunk& chunk : chunks) {
    for (const int64_t end : chunk.ends) *offset++ = before + end;
    std::copy(chunk.runs.begin(), chunk.runs.end(), to + before);
    before += static_cast<int64_t>(chunk.runs.size());
  }
  return {runs, offsets};
}

std::tuple<Tensor, Tensor> mask_runs_cpu(const Tensor& tensor, int64_t width, bool by_rows) {
  if (tensor.scalar_type() == ScalarType::Long) {
    const PackedTensor packed("mask_runs", tensor, width);
    const BitMasks& m = packed.masks;
    const auto kernel = PV_DISPATCH(runs_of_bits);
    return gather_runs(tensor, m.count, m.height, width,
                       [&](uint64_t* scratch, const RunSink& sink, int64_t n) {
                         kernel(m, by_rows, scratch, sink, n);
                       });
  }
  const DenseMasks m = dense_runs_input(tensor, width);
  const auto kernel = PV_DISPATCH(runs_of_dense);
  return gather_runs(tensor, m.count, m.height, width,
                     [&](uint64_t* scratch, const RunSink& sink, int64_t n) {
                       kernel(m, by_rows, scratch, sink, n);
                     });
}

std::tuple<Tensor, Tensor> masks_from_runs_cpu(const Tensor& runs, const Tensor& offsets,
                                               int64_t height, int64_t width, bool by_rows) {
  const RunTensors in("masks_from_runs", runs, offsets, height, width, by_rows);
  const PackedOutput out(runs, in.lists.count, height, width);
  if (out.empty()) return {out.bits, out.extents};
  const auto kernel = PV_DISPATCH(bits_of_runs);
  torch::stable::parallel_for(
      0, in.lists.count, grain(height, width), [&](int64_t begin, int64_t end) {
        const ThreadScratch scratch(height, width);
        kernel(in.lists, out.words(), out.fields(), scratch.words(), begin, end);
      });
  return {out.bits, out.extents};
}

Tensor dense_masks_from_runs_cpu(const Tensor& runs, const Tensor& offsets, int64_t height,
                                 int64_t width, bool by_rows) {
  const RunTensors in("dense_masks_from_runs", runs, offsets, height, width, by_rows);
  const Tensor out =
      torch::stable::new_empty(runs, {in.lists.count, height, width}, ScalarType::Bool);
  if (out.numel() == 0) return out;
  uint8_t* bytes = static_cast<uint8_t*>(out.mutable_data_ptr());
  const auto kernel = PV_DISPATCH(bytes_of_runs);
  torch::stable::parallel_for(0, in.lists.count, grain(height, width),
                              [&](int64_t begin, int64_t end) {
                                const ThreadScratch scratch(height, width);
                                kernel(in.lists, bytes, scratch.words(), begin, end);
                              });
  return out;
}

// Extents whose boxes lie in the image, whatever came in.
std::vector<int32_t> inside(const Tensor& extents, const BitMasks& masks) {
  const int32_t* fields = extents.const_data_ptr<int32_t>();
  std::vector<int32_t> all(static_cast<size_t>(masks.count * kExtentFields));
  for (int64_t n = 0; n < masks.count; ++n) {
    store(clamped(fields + n * kExtentFields, masks.height, masks.width),
          all.data() + n * kExtentFields);
  }
  return all;
}

Tensor mask_iou_cpu(const Tensor& a, const Tensor& a_extents, const Tensor& b,
                    const Tensor& b_extents, int64_t width, const std::optional<Tensor>& iscrowd,
                    bool iomin) {
  const IouTensors t(a, a_extents, b, b_extents, width, iscrowd);
  IouCall call = t.call(iomin);
  const std::vector<int32_t> a_inside = inside(t.a_extents, call.a);
  const std::vector<int32_t> b_inside = inside(t.b_extents, call.b);
  call.a_extents = a_inside.data();
  call.b_extents = b_inside.data();
  call.has_vpopcntdq = has_avx512_vpopcntdq();
  const auto kernel = PV_DISPATCH(mask_iou_rows);
  const int64_t rows = std::max<int64_t>(1, kGrainPairs / std::max<int64_t>(1, call.b.count));
  torch::stable::parallel_for(0, call.a.count, rows,
                              [&](int64_t begin, int64_t end) { kernel(call, begin, end); });
  return t.out;
}

Tensor mask_nms_cpu(const Tensor& bits, const Tensor& extents, int64_t width, const Tensor& order,
                    double iou_threshold, double iomin_threshold) {
  const NmsTensors t(bits, extents, width, order);
  NmsCall call = t.call(iou_threshold, iomin_threshold);
  const std::vector<int32_t> boxes = inside(t.extents, call.masks);
  call.extents = boxes.data();
  call.has_vpopcntdq = has_avx512_vpopcntdq();
  return t.kept(PV_DISPATCH(mask_nms)(call));
}

}  // namespace
}  // namespace pyvqa::masks

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("pack_masks", TORCH_BOX(&pyvqa::masks::pack_masks_cpu));
  m.impl("unpack_masks", TORCH_BOX(&pyvqa::masks::unpack_masks_cpu));
  m.impl("mask_extents", TORCH_BOX(&pyvqa::masks::mask_extents_cpu));
  m.impl("mask_runs", TORCH_BOX(&pyvqa::masks::mask_runs_cpu));
  m.impl("masks_from_runs", TORCH_BOX(&pyvqa::masks::masks_from_runs_cpu));
  m.impl("dense_masks_from_runs", TORCH_BOX(&pyvqa::masks::dense_masks_from_runs_cpu));
  m.impl("mask_iou", TORCH_BOX(&pyvqa::masks::mask_iou_cpu));
  m.impl("mask_nms", TORCH_BOX(&pyvqa::masks::mask_nms_cpu));
}
