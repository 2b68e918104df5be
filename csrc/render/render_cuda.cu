// One thread per pixel, the maths of render/scene.h for one ray.
#include "render/render_cuda.h"

#include "common/launch.h"
#include "render/boxes.h"
#include "render/scene.h"

namespace pyvqa {
namespace {

constexpr int kBlock = 128;

__global__ void __launch_bounds__(kBlock) prepare_pictures(World world, Prepared prepared) {
  const int64_t stride = int64_t{gridDim.x} * kBlock;
  for (int64_t b = int64_t{blockIdx.x} * kBlock + threadIdx.x; b < world.pictures; b += stride) {
    static_cast<View*>(prepared.views)[b] =
        view_from(world.cameras + 3 * b, world.height, world.width);
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

cudaError_t launch_render_ids(const World& world, const Prepared& prepared, int16_t* ids,
                              cudaStream_t stream) {
  if (world.pictures == 0) return cudaSuccess;
  const cudaError_t status = launch_prepare(world, prepared, stream);
  if (status != cudaSuccess) return status;
  const int64_t pixels = world.pictures * world.height * world.width;
  return launch(look, blocks_for(pixels, kBlock), kBlock, 0, stream, world, prepared, ids);
}

cudaError_t launch_render_boxes(const World& world, int64_t* boxes, cudaStream_t stream) {
  if (world.pictures == 0) return cudaSuccess;
  return launch(find_boxes, blocks_for(world.pictures, 1), kBlock, 0, stream, world, boxes);
}

}  // namespace pyvqa
