// Compiled once per instruction set.
#include "render/render_kernel.h"

#include "common/isa.h"
#include "render/boxes.h"
#include "render/scene.h"

namespace pyvqa {
namespace {

alignas(64) constexpr float kColumn[kLanes] = {0.5f,  1.5f,  2.5f,  3.5f, 4.5f,  5.5f,
                                               6.5f,  7.5f,  8.5f,  9.5f, 10.5f, 11.5f,
                                               12.5f, 13.5f, 14.5f, 15.5f};

struct Objects {
  const Solid* solids;
  int count;
};

Objects objects_in(const Prepared& prepared, int64_t b) {
  const int64_t begin = prepared.ends[2 * b], end = prepared.ends[2 * b + 1];
  return {static_cast<const Solid*>(prepared.solids) + begin, static_cast<int>(end - begin)};
}

// What the camera sees along one row of the picture. `ids` and `distances` have room for whole
// packets.
void look_along_row(const View& view, const Objects& objects, int32_t y, int32_t* ids,
                    float* distances) {
  const Sight<Lanes> none = nothing_seen<Lanes>();
  for (int32_t x = 0; x < view.width; x += kLanes) {
    store(none.id, ids + x);
    store(none.distance, distances + x);
  }
  const Lanes row(static_cast<float>(y) + 0.5f), columns = load(kColumn);
  for (int k = 0; k < objects.count; ++k) {
    const Solid& s = objects.solids[k];
    if (y < s.top || y >= s.bottom) continue;
    for (int32_t x = s.left & ~(kLanes - 1); x < s.right; x += kLanes) {
      Lanes depth;
      const Vec3<Lanes> d = direction(view, columns + Lanes(static_cast<float>(x)), row, depth);
      Sight<Lanes> sight{load(distances + x), load(ids + x)};
      look_at(s, k, d, depth, sight);
      store(sight.id, ids + x);
      store(sight.distance, distances + x);
    }
  }
}

}  // namespace

void PV_ISA_NAME(prepare)(const World& world, const Prepared& prepared, int64_t b) {
  View& view = static_cast<View*>(prepared.views)[b];
  view = view_from(world.cameras + 3 * b, world.height, world.width);
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
