// Compiled once per instruction set.
#include "render/render_kernel.h"

#include "common/isa.h"
#include "render/boxes.h"
#include "render/lights.h"
#include "render/rows.h"

namespace pyvqa {
void PV_ISA_NAME(prepare)(const World& world, const Prepared& prepared, int64_t b) {
  View& view = static_cast<View*>(prepared.views)[b];
  view = view_from(world.cameras + 3 * b, world.height, world.width);
  if (prepared.lights != nullptr)
    static_cast<Lights*>(prepared.lights)[b] = lights_from(world.lamps + 9 * b);
  const float none[3] = {};
  Solid* solids = static_cast<Solid*>(prepared.solids);
  for (int64_t k = prepared.ends[2 * b]; k < prepared.ends[2 * b + 1]; ++k)
    solids[k] = solid_from(view, world.geometry + 5 * k, world.kinds + 2 * k,
                           world.colors == nullptr ? none : world.colors + 3 * k);
}

void PV_ISA_NAME(id_rows)(const World& world, const Prepared& prepared, int64_t b, int32_t begin,
                          int32_t end, int32_t* scratch, int16_t* ids) {
  const View& view = static_cast<const View*>(prepared.views)[b];
  const Objects objects = objects_in(prepared, b);
  const int64_t padded = (int64_t{world.width} + kLanes - 1) & ~int64_t{kLanes - 1};
  float* distances = reinterpret_cast<float*>(scratch + padded);
  for (int32_t y = begin; y < end; ++y) {
    look_along_row(view, objects, y, scratch, distances);
    int16_t* to = ids + int64_t{y} * world.width;
    for (int32_t x = 0; x < world.width; ++x) to[x] = static_cast<int16_t>(scratch[x]);
  }
}

void PV_ISA_NAME(boxes)(const World& world, int64_t b, int64_t* boxes) {
  const View view = view_from(world.cameras + 3 * b, world.height, world.width);
  int64_t begin, end;
  objects_of(world.offsets, world.objects, b, begin, end);
  for (int64_t k = begin; k < end; ++k)
    box_of(view, world.geometry + 5 * k, world.kinds + 2 * k, boxes + 4 * k);
}

}  // namespace pyvqa
