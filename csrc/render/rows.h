// Rows of pixels, sixteen at a time (CPU).
#pragma once

#include "render/render_kernel.h"
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

inline Objects objects_in(const Prepared& prepared, int64_t b) {
  const int64_t begin = prepared.ends[2 * b], end = prepared.ends[2 * b + 1];
  return {static_cast<const Solid*>(prepared.solids) + begin, static_cast<int>(end - begin)};
}

// What the camera sees along one row of the picture. `ids` and `distances` have room for whole
// packets.
inline void look_along_row(const View& view, const Objects& objects, int32_t y, int32_t* ids,
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
}  // namespace pyvqa
