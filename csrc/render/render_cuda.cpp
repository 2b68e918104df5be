// The ops on CUDA tensors: the checks of the CPU side, launched on torch's current stream.
#include "render/render_cuda.h"

#include "common/cuda_stream.h"
#include "render/render_check.h"

namespace pyvqa {
namespace {

// Objects and views of all pictures, in device memory.
struct DeviceScratch {
  Tensor memory;
  Prepared prepared{};

  explicit DeviceScratch(const WorldTensors& t) {
    const int64_t objects = t.geometry.size(0), pictures = t.cameras.size(0);
    const int64_t views = static_cast<int64_t>(device_view_bytes()) * pictures,
                  solids = static_cast<int64_t>(device_solid_bytes()) * objects,
                  ends = pictures * 2 * static_cast<int64_t>(sizeof(int64_t));
    memory = torch::stable::new_empty(t.geometry, {views + ends + solids}, ScalarType::Byte);
    uint8_t* at = memory.mutable_data_ptr<uint8_t>();
    prepared.views = at;  // a multiple of 8 bytes each, as the largest member needs
    prepared.ends = reinterpret_cast<int64_t*>(at + views);
    prepared.solids = at + views + ends;
  }
};

Tensor render_ids_cuda(const Tensor& geometry, const Tensor& kinds, const Tensor& offsets,
                       const Tensor& cameras, int64_t height, int64_t width) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const CudaScope scope(geometry);
  const Tensor ids =
      torch::stable::new_empty(geometry, {cameras.size(0), height, width}, ScalarType::Short);
  const DeviceScratch scratch(tensors);
  check_launch(launch_render_ids(tensors.world(), scratch.prepared, ids.mutable_data_ptr<int16_t>(),
                                 scope.stream()),
               "render");
  return ids;
}

Tensor render_boxes_cuda(const Tensor& geometry, const Tensor& kinds, const Tensor& offsets,
                         const Tensor& cameras, int64_t height, int64_t width) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const CudaScope scope(geometry);
  const Tensor boxes = torch::stable::new_zeros(geometry, {geometry.size(0), 4}, ScalarType::Long);
  check_launch(
      launch_render_boxes(tensors.world(), boxes.mutable_data_ptr<int64_t>(), scope.stream()),
      "render");
  return boxes;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("render_ids", TORCH_BOX(&pyvqa::render_ids_cuda));
  m.impl("render_boxes", TORCH_BOX(&pyvqa::render_boxes_cuda));
}
