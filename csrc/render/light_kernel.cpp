// Compiled once per instruction set: everything about a picture that needs light.
#include "common/isa.h"
#include "render/pixels.h"
#include "render/rows.h"

namespace pyvqa {
namespace {

constexpr int kTilePixels = kTile * kTile;

Stage stage_of(const Prepared& prepared, const Drawing& to, int64_t b) {
  const Objects objects = objects_in(prepared, b);
  return {static_cast<const View*>(prepared.views) + b,
          static_cast<const Lights*>(prepared.lights) + b, objects.solids, objects.count,
          to.maps + (b - to.first_map) * kMapFloats};
}

// Depth and normals of one row whose objects are found.
void finish_row(const Stage& stage, int32_t y, const int32_t* ids, const float* distances,
                float* depths, float* normals) {
  const View& view = *stage.view;
  const Lanes row(static_cast<float>(y) + 0.5f), columns = load(kColumn);
  for (int32_t x = 0; x < view.width; x += kLanes) {
    Lanes depth;
    const Vec3<Lanes> d = direction(view, columns + Lanes(static_cast<float>(x)), row, depth);
    const Sight<Lanes> sight{load(distances + x), load(ids + x)};
    const Surface<Lanes> at = surface_at(stage, wide<Lanes>(view.eye), d, sight);
    alignas(64) float lanes[4][kLanes];
    store(select(at.there, at.distance * depth, Lanes(__builtin_inff())), lanes[0]);
    const Vec3<Lanes> n = select<Lanes>(at.there, at.n, nowhere<Lanes>());
    store(n.x, lanes[1]);
    store(n.y, lanes[2]);
    store(n.z, lanes[3]);
    const int count = view.width - x < kLanes ? view.width - x : kLanes;
    for (int k = 0; k < count; ++k) {
      depths[x + k] = lanes[0][k];
      for (int i = 0; i < 3; ++i) normals[3 * (x + k) + i] = lanes[1 + i][k];
    }
  }
}

// Draws the rays of a tile, sixteen at a time.
class Tile {
 public:
  Tile(const Stage& stage, const Drawing& to, int64_t b, int32_t x, int32_t y)
      : stage_(stage), to_(to), left_(x), top_(y) {
    const View& v = *stage.view;
    right_ = x + kTile < v.width ? x + kTile : v.width;
    bottom_ = y + kTile < v.height ? y + kTile : v.height;
    first_ = b * v.height * v.width;
    seed_ = static_cast<uint64_t>(to.seeds[b]);
    for (int k = 0; k < stage.count; ++k) {
      const Solid& s = stage.solids[k];
      // Rays that blur a pixel start up to a pixel outside of it.
      const bool inside = s.left <= right_ && s.right >= left_ && s.top <= bottom_ &&
                          s.bottom >= top_ && s.right > s.left && s.bottom > s.top;
      if (inside) seen_[seen_count_++] = static_cast<int16_t>(k);
    }
  }

  void draw() {
    int counts[kTilePixels], most = 0;
    const Frame_maps maps{to_.ids + first_, to_.normals + 3 * first_};
    for (int p = 0; p < kTilePixels; ++p) {
      counts[p] = 0;
      if (!inside(p)) continue;
      for (int i = 0; i < 3; ++i) sums_[p][i] = 0;
      counts[p] = rays_of_pixel(stage_.solids, maps, stage_.view->height, stage_.view->width,
                                column(p), line(p), to_.samples);
      most = counts[p] > most ? counts[p] : most;
    }
    for (int rays = 1; rays <= most;) {
      add_pixels(counts, rays, false);
      add_pixels(counts, rays, true);
      int next = most + 1;
      for (int p = 0; p < kTilePixels; ++p)
        if (counts[p] > rays && counts[p] < next) next = counts[p];
      rays = next;
    }
    write(counts);
  }

 private:
  int32_t column(int p) const { return left_ + p % kTile; }
  int32_t line(int p) const { return top_ + p / kTile; }
  bool inside(int p) const { return column(p) < right_ && line(p) < bottom_; }

  bool object(int p) const {
    return to_.ids[first_ + int64_t{line(p)} * stage_.view->width + column(p)] >= 0;
  }

  // Pixels that look around alike go together.
  void add_pixels(const int* counts, int rays, bool objects) {
    effort_ = effort_of(rays, to_.samples, objects);
    for (int p = 0; p < kTilePixels; ++p)
      if (counts[p] == rays && object(p) == objects) add_pixel(p, rays);
    flush();
  }

  void add_pixel(int p, int rays) {
    for (int s = 0; s < rays; ++s) {
      const Place place = ray_place(seed_, stage_.view->width, column(p), line(p), s, rays);
      x_[filled_] = place.x;
      y_[filled_] = place.y;
      key_[filled_] = place.key;
      pixel_[filled_] = p;
      if (++filled_ == kLanes) flush();
    }
  }

  void flush() {
    if (filled_ == 0) return;
    for (int k = filled_; k < kLanes; ++k) {
      x_[k] = x_[filled_ - 1];
      y_[k] = y_[filled_ - 1];
      key_[k] = key_[filled_ - 1];
    }
    Lanes depth;
    const Vec3<Lanes> d = direction(*stage_.view, load(x_), load(y_), depth);
    Sight<Lanes> sight = nothing_seen<Lanes>();
    for (int k = 0; k < seen_count_; ++k)
      look_at(stage_.solids[seen_[k]], seen_[k], d, depth, sight);
    const Vec3<Lanes> color = brightness(stage_, d, sight, effort_, Random<Lanes>{load(key_)});
    alignas(64) float lanes[3][kLanes];
    store(color.x, lanes[0]);
    store(color.y, lanes[1]);
    store(color.z, lanes[2]);
    for (int k = 0; k < filled_; ++k)
      for (int i = 0; i < 3; ++i) sums_[pixel_[k]][i] += lanes[i][k];
    filled_ = 0;
  }

  void write(const int* counts) const {
    const int32_t width = stage_.view->width;
    for (int p = 0; p < kTilePixels; ++p) {
      if (counts[p] == 0) continue;
      float linear[3];
      for (int i = 0; i < 3; ++i) linear[i] = sums_[p][i] / static_cast<float>(counts[p]);
      const int64_t pixel = int64_t{line(p)} * width + column(p);
      const int id = to_.ids[first_ + pixel];
      write_pixel(linear, to_.grain, id >= 0 ? stage_.solids + id : nullptr, seed_,
                  static_cast<uint32_t>(pixel), to_.picture + 3 * (first_ + pixel));
    }
  }

  const Stage& stage_;
  const Drawing& to_;
  int32_t left_, top_, right_ = 0, bottom_ = 0;
  int64_t first_ = 0;
  uint64_t seed_ = 0;
  Effort effort_{};
  int filled_ = 0, seen_count_ = 0;
  alignas(64) float x_[kLanes];
  alignas(64) float y_[kLanes];
  alignas(64) uint32_t key_[kLanes];
  int pixel_[kLanes];
  float sums_[kTilePixels][3];
  int16_t seen_[kMostObjects];
};

}  // namespace

void PV_ISA_NAME(first_hits)(const World& world, const Prepared& prepared, const Drawing& to,
                             int64_t b, int32_t begin, int32_t end, int32_t* scratch) {
  const Stage stage = stage_of(prepared, to, b);
  const int64_t padded = (int64_t{world.width} + kLanes - 1) & ~int64_t{kLanes - 1};
  float* distances = reinterpret_cast<float*>(scratch + padded);
  for (int32_t y = begin; y < end; ++y) {
    const int64_t row = (b * world.height + y) * world.width;
    look_along_row(*stage.view, {stage.solids, stage.count}, y, scratch, distances);
    for (int32_t x = 0; x < world.width; ++x) to.ids[row + x] = static_cast<int16_t>(scratch[x]);
    finish_row(stage, y, scratch, distances, to.depth + row, to.normals + 3 * row);
  }
}

void PV_ISA_NAME(map_row)(const Prepared& prepared, const Drawing& to, int64_t b, int32_t row) {
  const Stage stage = stage_of(prepared, to, b);
  float* map = to.maps + (b - to.first_map) * kMapFloats;
  if (row == kMap) {
    float* sky = map + 3 * kMap * kMap;
    for (int cell = 0; cell < kSky * kSky; ++cell) {
      const Vec3<float> color = sky_cell(stage, cell);
      sky[cell] = color.x;
      sky[cell + kSky * kSky] = color.y;
      sky[cell + 2 * kSky * kSky] = color.z;
    }
    return;
  }
  const Lanes columns = load(kColumn) - Lanes(0.5f);
  for (int x = 0; x < kMap; x += kLanes) {
    alignas(64) uint32_t keys[kLanes];
    for (int k = 0; k < kLanes; ++k) keys[k] = map_key(row * kMap + x + k);
    const Vec3<Lanes> color =
        ground_cell(stage, columns + Lanes(static_cast<float>(x)), Lanes(static_cast<float>(row)),
                    kMapShadows, Random<Lanes>{load(keys)});
    float* at = map + row * kMap + x;
    store(color.x, at);
    store(color.y, at + kMap * kMap);
    store(color.z, at + 2 * kMap * kMap);
  }
}

void PV_ISA_NAME(tile)(const World&, const Prepared& prepared, const Drawing& to, int64_t b,
                       int32_t x, int32_t y) {
  const Stage stage = stage_of(prepared, to, b);
  Tile(stage, to, b, x, y).draw();
}

}  // namespace pyvqa
