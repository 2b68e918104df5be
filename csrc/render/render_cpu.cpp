#include <algorithm>
#include <vector>

#include "common/isa.h"
#include "render/render_check.h"
#include "render/surface.h"

namespace pyvqa {

namespace {

constexpr int64_t kRows = 32;    // that a thread takes at a time
constexpr int64_t kAtOnce = 64;  // pictures whose maps are kept

// Objects and views of all pictures, ready for the kernels.
struct Prepared_world {
  World world;
  std::vector<Solid> solids;
  std::vector<View> views;
  std::vector<Lights> lights;
  std::vector<int64_t> ends;
  Prepared prepared{};

  explicit Prepared_world(const World& w)
      : world(w),
        solids(w.objects),
        views(w.pictures),
        lights(w.lamps == nullptr ? 0 : w.pictures),
        ends(2 * w.pictures) {
    int64_t begin = 0;
    for (int64_t b = 0; b < w.pictures; ++b) {
      begin = std::max(begin, w.offsets[b]);
      ends[2 * b] = std::min(begin, w.objects);
      const int64_t end = std::min(std::max(begin, w.offsets[b + 1]), w.objects);
      ends[2 * b + 1] = std::min(end, ends[2 * b] + kMostObjects);
    }
    prepared = {solids.data(), views.data(), w.lamps == nullptr ? nullptr : lights.data(),
                ends.data()};
    const auto prepare = PV_DISPATCH(prepare);
    for (int64_t b = 0; b < w.pictures; ++b) prepare(world, prepared, b);
  }
};

// Draws pictures [first, first + count): first what is where, then the maps, then the light.
void draw(const Prepared_world& scene, const Drawing& to, int64_t first, int64_t count) {
  const World& world = scene.world;
  const int64_t bands = (world.height + kRows - 1) / kRows;
  const auto first_hits = PV_DISPATCH(first_hits);
  torch::stable::parallel_for(0, count * bands, 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> scratch(2 * (world.width + kLanes));
    for (int64_t k = begin; k < end; ++k) {
      const int64_t y = k % bands * kRows;
      first_hits(world, scene.prepared, to, first + k / bands, static_cast<int32_t>(y),
                 static_cast<int32_t>(std::min<int64_t>(world.height, y + kRows)), scratch.data());
    }
  });
  const auto map_row = PV_DISPATCH(map_row);
  torch::stable::parallel_for(0, count * kMapRows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      map_row(scene.prepared, to, first + k / kMapRows, static_cast<int32_t>(k % kMapRows));
  });
  const auto tile = PV_DISPATCH(tile);
  const int64_t across = (world.width + kTile - 1) / kTile,
                tiles = across * ((world.height + kTile - 1) / kTile);
  torch::stable::parallel_for(0, count * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      tile(world, scene.prepared, to, first + k / tiles,
           static_cast<int32_t>(k % tiles % across * kTile),
           static_cast<int32_t>(k % tiles / across * kTile));
  });
}

Tensor render_ids_cpu(const Tensor& geometry, const Tensor& kinds, const Tensor& offsets,
                      const Tensor& cameras, int64_t height, int64_t width) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const Tensor ids =
      torch::stable::new_empty(geometry, {cameras.size(0), height, width}, ScalarType::Short);
  const Prepared_world scene(tensors.world());
  int16_t* out = ids.mutable_data_ptr<int16_t>();
  const auto id_rows = PV_DISPATCH(id_rows);
  const int64_t bands = (height + kRows - 1) / kRows;
  torch::stable::parallel_for(0, cameras.size(0) * bands, 1, [&](int64_t first, int64_t last) {
    std::vector<int32_t> scratch(2 * (width + kLanes));
    for (int64_t k = first; k < last; ++k) {
      const int64_t b = k / bands, y = k % bands * kRows;
      id_rows(scene.world, scene.prepared, b, static_cast<int32_t>(y),
              static_cast<int32_t>(std::min(height, y + kRows)), scratch.data(),
              out + b * height * width);
    }
  });
  return ids;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> render_cpu(const Tensor& geometry, const Tensor& kinds,
                                                      const Tensor& colors, const Tensor& offsets,
                                                      const Tensor& cameras, const Tensor& lamps,
                                                      const Tensor& seeds, int64_t height,
                                                      int64_t width, int64_t samples,
                                                      double grain) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const DrawingTensors t(tensors, colors, lamps, seeds, samples, grain);
  const Prepared_world scene(t.world(tensors));
  const int64_t pictures = cameras.size(0);
  // A few pictures at a time bound the memory of their maps.
  std::vector<float> maps(static_cast<size_t>(std::min(pictures, kAtOnce) * kMapFloats));
  for (int64_t first = 0; first < pictures; first += kAtOnce) {
    const int64_t count = std::min(kAtOnce, pictures - first);
    const Drawing to = t.drawing(maps.data(), first, samples, grain);
    draw(scene, to, first, count);
  }
  return {t.picture, t.ids, t.depth, t.normals};
}

Tensor render_boxes_cpu(const Tensor& geometry, const Tensor& kinds, const Tensor& offsets,
                        const Tensor& cameras, int64_t height, int64_t width) {
  const WorldTensors tensors(geometry, kinds, offsets, cameras, height, width);
  const Tensor boxes = torch::stable::new_zeros(geometry, {geometry.size(0), 4}, ScalarType::Long);
  const World world = tensors.world();
  int64_t* out = boxes.mutable_data_ptr<int64_t>();
  const auto kernel = PV_DISPATCH(boxes);
  torch::stable::parallel_for(0, world.pictures, 8, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) kernel(world, b, out);
  });
  return boxes;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("render", TORCH_BOX(&pyvqa::render_cpu));
  m.impl("render_ids", TORCH_BOX(&pyvqa::render_ids_cpu));
  m.impl("render_boxes", TORCH_BOX(&pyvqa::render_boxes_cpu));
}
