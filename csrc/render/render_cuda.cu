// One thread per pixel, the maths of render/scene.h for one ray.
#include "render/render_cuda.h"

#include "common/launch.h"
#include "render/boxes.h"
#include "render/pixels.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 128;

__global__ void __launch_bounds__(kBlock) prepare_pictures(World world, Prepared prepared) {
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t b = int64_t{blockIdx.x} * kBlock + threadIdx.x; b < world.pictures; b += stride) {
    static_cast<View*>(prepared.views)[b] =
        view_from(world.cameras + 3 * b, world.height, world.width);
    if (prepared.lights != nullptr)
      static_cast<Lights*>(prepared.lights)[b] = lights_from(world.lamps + 9 * b);
    objects_of(world.offsets, world.objects, b, prepared.ends[2 * b], prepared.ends[2 * b + 1]);
  }
}

// One block per picture: its threads share the objects out.
__global__ void __launch_bounds__(kBlock) prepare_objects(World world, Prepared prepared) {
  const float none[3] = {};
  for (int64_t b = blockIdx.x; b < world.pictures; b += gridDim.x) {
    const View& view = static_cast<const View*>(prepared.views)[b];
    Solid* solids = static_cast<Solid*>(prepared.solids);
    const int64_t end = prepared.ends[2 * b + 1];
    for (int64_t k = prepared.ends[2 * b] + threadIdx.x; k < end; k += kBlock)
      solids[k] = solid_from(view, world.geometry + 5 * k, world.kinds + 2 * k,
                             world.colors == nullptr ? none : world.colors + 3 * k);
  }
}

__global__ void __launch_bounds__(kBlock) look(World world, Prepared prepared, int16_t* ids) {
  const int64_t pixels = int64_t{world.height} * world.width, all = world.pictures * pixels;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t p = int64_t{blockIdx.x} * kBlock + threadIdx.x; p < all; p += stride) {
    const int64_t b = p / pixels;
    const int32_t y = static_cast<int32_t>(p % pixels / world.width),
                  x = static_cast<int32_t>(p % pixels % world.width);
    const View& view = static_cast<const View*>(prepared.views)[b];
    const Solid* solids = static_cast<const Solid*>(prepared.solids) + prepared.ends[2 * b];
    const int count = static_cast<int>(prepared.ends[2 * b + 1] - prepared.ends[2 * b]);
    ids[p] = static_cast<int16_t>(seen_by_pixel(view, solids, count, x, y).id);
  }
}

__device__ __forceinline__ Stage stage_of(const Prepared& prepared, const Drawing& to, int64_t b) {
  const int64_t begin = prepared.ends[2 * b];
  return {static_cast<const View*>(prepared.views) + b,
          static_cast<const Lights*>(prepared.lights) + b,
          static_cast<const Solid*>(prepared.solids) + begin,
          static_cast<int>(prepared.ends[2 * b + 1] - begin), to.maps + b * kMapFloats};
}

__global__ void __launch_bounds__(kBlock)
    find_surfaces(World world, Prepared prepared, Drawing to) {
  const int64_t pixels = int64_t{world.height} * world.width, all = world.pictures * pixels;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t p = int64_t{blockIdx.x} * kBlock + threadIdx.x; p < all; p += stride) {
    const Stage stage = stage_of(prepared, to, p / pixels);
    const int32_t y = static_cast<int32_t>(p % pixels / world.width),
                  x = static_cast<int32_t>(p % pixels % world.width);
    const Sight<float> sight = seen_by_pixel(*stage.view, stage.solids, stage.count, x, y);
    float depth;
    const Vec3<float> d = direction(*stage.view, to_float(x) + 0.5f, to_float(y) + 0.5f, depth);
    const Surface<float> at = surface_at(stage, wide<float>(stage.view->eye), d, sight);
    to.ids[p] = static_cast<int16_t>(sight.id);
    to.depth[p] = at.there ? at.distance * depth : __int_as_float(0x7f800000);
    to.normals[3 * p] = at.there ? at.n.x : 0;
    to.normals[3 * p + 1] = at.there ? at.n.y : 0;
    to.normals[3 * p + 2] = at.there ? at.n.z : 0;
  }
}

__global__ void __launch_bounds__(kBlock) draw_maps(World world, Prepared prepared, Drawing to) {
  constexpr int kCells = kMap * kMap + kSky * kSky;
  const int64_t all = world.pictures * kCells, stride = int64_t{gridDim.x} * kBlock;
  for (int64_t k = int64_t{blockIdx.x} * kBlock + threadIdx.x; k < all; k += stride) {
    const int64_t b = k / kCells;
    const int cell = static_cast<int>(k % kCells);
    const Stage stage = stage_of(prepared, to, b);
    const bool ground = cell < kMap * kMap;
    const int plane = ground ? kMap * kMap : kSky * kSky;
    float* at = to.maps + b * kMapFloats + (ground ? cell : 2 * kMap * kMap + cell);
    const Vec3<float> color = ground
                                  ? ground_cell(stage, to_float(cell % kMap), to_float(cell / kMap),
                                                kMapShadows, Random<float>{map_key(cell)})
                                  : sky_cell(stage, cell - kMap * kMap);
    at[0] = color.x;
    at[plane] = color.y;
    at[2 * plane] = color.z;
  }
}

// Two blocks at a time, so that the compiler takes the registers it needs.
__global__ void __launch_bounds__(kBlock, 2)
    draw_pixels(World world, Prepared prepared, Drawing to) {
  const int64_t pixels = int64_t{world.height} * world.width, all = world.pictures * pixels;
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t p = int64_t{blockIdx.x} * kBlock + threadIdx.x; p < all; p += stride) {
    const int64_t b = p / pixels, first = b * pixels;
    const Stage stage = stage_of(prepared, to, b);
    const int32_t y = static_cast<int32_t>(p % pixels / world.width),
                  x = static_cast<int32_t>(p % pixels % world.width);
    const int rays = rays_of_pixel(stage.solids, {to.ids + first, to.normals + 3 * first},
                                   world.height, world.width, x, y, to.samples);
    const uint64_t seed = static_cast<uint64_t>(to.seeds[b]);
    float linear[3] = {};
    for (int s = 0; s < rays; ++s) {
      const Vec3<float> color = ray_color(stage, seed, x, y, s, rays, to.samples, to.ids[p] >= 0);
      linear[0] += color.x;
      linear[1] += color.y;
      linear[2] += color.z;
    }
    for (int i = 0; i < 3; ++i) linear[i] /= static_cast<float>(rays);
    const Solid* solid = to.ids[p] >= 0 ? stage.solids + to.ids[p] : nullptr;
    write_pixel(linear, to.grain, solid, seed, static_cast<uint32_t>(p - first),
                to.picture + 3 * p);
  }
}

__global__ void __launch_bounds__(kBlock) find_boxes(World world, int64_t* boxes) {
  for (int64_t b = blockIdx.x; b < world.pictures; b += gridDim.x) {
    const View view = view_from(world.cameras + 3 * b, world.height, world.width);
    int64_t begin, end;
    objects_of(world.offsets, world.objects, b, begin, end);
    for (int64_t k = begin + threadIdx.x; k < end; k += kBlock)
      box_of(view, world.geometry + 5 * k, world.kinds + 2 * k, boxes + 4 * k);
  }
}

cudaError_t launch_prepare(const World& world, const Prepared& prepared, cudaStream_t stream) {
  const cudaError_t status = launch(prepare_pictures, blocks_for(world.pictures, kBlock), kBlock, 0,
                                    stream, world, prepared);
  if (status != cudaSuccess) return status;
  return launch(prepare_objects, blocks_for(world.pictures, 1), kBlock, 0, stream, world, prepared);
}

}  // namespace

size_t device_solid_bytes() { return sizeof(Solid); }
size_t device_view_bytes() { return sizeof(View); }
size_t device_lights_bytes() { return sizeof(Lights); }
int64_t device_map_floats() { return kMapFloats; }

cudaError_t launch_render_ids(const World& world, const Prepared& prepared, int16_t* ids,
                              cudaStream_t stream) {
  if (world.pictures == 0) return cudaSuccess;
  const cudaError_t status = launch_prepare(world, prepared, stream);
  if (status != cudaSuccess) return status;
  const int64_t pixels = world.pictures * world.height * world.width;
  return launch(look, blocks_for(pixels, kBlock), kBlock, 0, stream, world, prepared, ids);
}

cudaError_t launch_render(const World& world, const Prepared& prepared, const Drawing& to,
                          cudaStream_t stream) {
  if (world.pictures == 0) return cudaSuccess;
  const int64_t pixels = world.pictures * world.height * world.width;
  cudaError_t status = launch_prepare(world, prepared, stream);
  if (status != cudaSuccess) return status;
  status =
      launch(find_surfaces, blocks_for(pixels, kBlock), kBlock, 0, stream, world, prepared, to);
  if (status != cudaSuccess) return status;
  status = launch(draw_maps, blocks_for(world.pictures * kMapFloats / 3, kBlock), kBlock, 0, stream,
                  world, prepared, to);
  if (status != cudaSuccess) return status;
  return launch(draw_pixels, blocks_for(pixels, kBlock), kBlock, 0, stream, world, prepared, to);
}

cudaError_t launch_render_boxes(const World& world, int64_t* boxes, cudaStream_t stream) {
  if (world.pictures == 0) return cudaSuccess;
  return launch(find_boxes, blocks_for(world.pictures, 1), kBlock, 0, stream, world, boxes);
}

}  // namespace pyvqa
