// The ops on CUDA tensors: the checks of the CPU side, launched on torch's current stream.
#include "render/render_cuda.h"

#include "common/cuda_stream.h"
#include "render/render_check.h"

namespace pyvqa {
namespace {

// Objects, views and lights of all pictures, in device memory.
struct DeviceScratch {
  Tensor memory;
  Prepared prepared{};

  DeviceScratch(const WorldTensors& t, bool lit) {
    const int64_t objects = t.geometry.size(0), pictures = t.cameras.size(0);
    // Every part is a multiple of 8 bytes, as its largest member needs.
    const int64_t views = static_cast<int64_t>(device_view_bytes()) * pictures,
                  ends = pictures * 2 * static_cast<int64_t>(sizeof(int64_t)),
                  lights = lit ? whole_words(device_lights_bytes() * pictures) : 0,
                  solids = static_cast<int64_t>(device_solid_bytes()) * objects;
    memory =
        torch::stable::new_empty(t.geometry, {views + ends + lights + solids}, ScalarType::Byte);
    uint8_t* at = memory.mutable_data_ptr<uint8_t>();
    prepared.views = at;
    prepared.ends = reinterpret_cast<int64_t*>(at + views);
    prepared.lights = lit ? at + views + ends : nullptr;
    prepared.solids = at + views + ends + lights;
  }

 private:
  static int64_t whole_words(size_t bytes) { return static_cast<int64_t>((bytes + 7) / 8 * 8); }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> render_cuda(const Tensor& geometry, const Tensor& kinds,
                                                       const Tensor& colors, const Tensor& offsets,
                                                       const Tensor& cameras, const Tensor& lamps,
                                                       const Tensor& seeds, int64_t height,
                                                       int64_t width, int64_t samples,
                                                       double grain) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const DrawingTensors t(tensors, colors, lamps, seeds, samples, grain);
  const CudaScope scope(geometry);
  const DeviceScratch scratch(tensors, true);
  const Tensor maps = torch::stable::new_empty(geometry, {cameras.size(0) * device_map_floats()},
                                               ScalarType::Float);
  check_launch(
      launch_render(t.world(tensors), scratch.prepared,
                    t.drawing(maps.mutable_data_ptr<float>(), 0, samples, grain), scope.stream()),
      "render");
  return {t.picture, t.ids, t.depth, t.normals};
}

Tensor render_ids_cuda(const Tensor& geometry, const Tensor& kinds, const Tensor& offsets,
                       const Tensor& cameras, int64_t height, int64_t width) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const CudaScope scope(geometry);
  const Tensor ids =
      torch::stable::new_empty(geometry, {cameras.size(0), height, width}, ScalarType::Short);
  const DeviceScratch scratch(tensors, false);
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
  m.impl("render", TORCH_BOX(&pyvqa::render_cuda));
  m.impl("render_ids", TORCH_BOX(&pyvqa::render_ids_cuda));
  m.impl("render_boxes", TORCH_BOX(&pyvqa::render_boxes_cuda));
}
