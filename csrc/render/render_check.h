// Argument checks shared by the CPU and the CUDA side: same text.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

#include "render/render_kernel.h"

namespace pyvqa {
namespace {

using torch::headeronly::ScalarType;
using torch::headeronly::toString;
using torch::stable::Tensor;

constexpr int64_t kLargestSide = 8192;
constexpr int64_t kMostPixels = int64_t{1} << 36;  // of all pictures together

inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

inline void check_rows(const Tensor& t, const Tensor& like, ScalarType type, int64_t columns,
                       const char* name) {
  STD_TORCH_CHECK(t.dim() == 2 && t.size(1) == columns && t.scalar_type() == type, "render: ", name,
                  " must be [rows, ", columns, "] of ", toString(type), ", got ", t.dim(),
                  " dimensions of ", toString(t.scalar_type()));
  STD_TORCH_CHECK(t.is_cuda() == like.is_cuda() && t.get_device_index() == like.get_device_index(),
                  "render: ", name, " must be on the device of geometry");
}

// The objects, cameras and size that every op here takes, checked and contiguous.
struct WorldTensors {
  Tensor geometry, kinds, offsets, cameras;
  int64_t height, width;

  WorldTensors(const Tensor& rows, const Tensor& kind_rows, const Tensor& starts,
               const Tensor& positions, int64_t h, int64_t w)
      : height(h), width(w) {
    check_rows(rows, rows, ScalarType::Double, 5, "geometry");
    check_rows(kind_rows, rows, ScalarType::Byte, 2, "kinds");
    check_rows(positions, rows, ScalarType::Double, 3, "cameras");
    STD_TORCH_CHECK(kind_rows.size(0) == rows.size(0), "render: geometry is of ", rows.size(0),
                    " objects, but kinds of ", kind_rows.size(0));
    STD_TORCH_CHECK(starts.dim() == 1 && starts.scalar_type() == ScalarType::Long,
                    "render: offsets must be a vector of Long, got ", starts.dim(),
                    " dimensions of ", toString(starts.scalar_type()));
    STD_TORCH_CHECK(
        starts.is_cuda() == rows.is_cuda() && starts.get_device_index() == rows.get_device_index(),
        "render: offsets must be on the device of geometry");
    STD_TORCH_CHECK(starts.size(0) == positions.size(0) + 1, "render: ", positions.size(0),
                    " cameras need ", positions.size(0) + 1, " offsets, got ", starts.size(0));
    STD_TORCH_CHECK(h >= 1 && h <= kLargestSide && w >= 1 && w <= kLargestSide,
                    "render: size must be 1 to ", kLargestSide, " pixels a side, got ", h, " x ",
                    w);
    STD_TORCH_CHECK(positions.size(0) <= kMostPixels / (h * w), "render: ", positions.size(0),
                    " pictures of ", h, " x ", w, " pixels are too many for one call");
    geometry = dense(rows);
    kinds = dense(kind_rows);
    offsets = dense(starts);
    cameras = dense(positions);
  }

  World world() const {
    return {geometry.const_data_ptr<double>(),
            kinds.const_data_ptr<uint8_t>(),
            nullptr,
            offsets.const_data_ptr<int64_t>(),
            cameras.const_data_ptr<double>(),
            nullptr,
            geometry.size(0),
            cameras.size(0),
            static_cast<int32_t>(height),
            static_cast<int32_t>(width)};
  }
};

constexpr int64_t kMostSamples = 4096;

// What a drawing takes beside its world, checked, and what comes out.
struct DrawingTensors {
  Tensor colors, lamps, seeds;
  Tensor picture, ids, depth, normals;

  DrawingTensors(const WorldTensors& world, const Tensor& color_rows, const Tensor& positions,
                 const Tensor& numbers, int64_t samples, double grain) {
    const int64_t pictures = world.cameras.size(0);
    check_rows(color_rows, world.geometry, ScalarType::Float, 3, "colors");
    STD_TORCH_CHECK(color_rows.size(0) == world.geometry.size(0), "render: geometry is of ",
                    world.geometry.size(0), " objects, but colors of ", color_rows.size(0));
    check_rows(positions, world.geometry, ScalarType::Double, 9, "lamps");
    STD_TORCH_CHECK(positions.size(0) == pictures, "render: ", pictures, " cameras, but lamps for ",
                    positions.size(0));
    STD_TORCH_CHECK(numbers.dim() == 1 && numbers.scalar_type() == ScalarType::Long &&
                        numbers.size(0) == pictures,
                    "render: seeds must be a vector of Long, one per camera (", pictures, ")");
    STD_TORCH_CHECK(numbers.is_cuda() == world.geometry.is_cuda() &&
                        numbers.get_device_index() == world.geometry.get_device_index(),
                    "render: seeds must be on the device of geometry");
    STD_TORCH_CHECK(samples >= 1 && samples <= kMostSamples, "render: samples must be 1 to ",
                    kMostSamples, ", got ", samples);
    STD_TORCH_CHECK(grain >= 0 && grain <= 255, "render: grain must be 0 to 255 grey levels, got ",
                    grain);
    colors = dense(color_rows);
    lamps = dense(positions);
    seeds = dense(numbers);
    const Tensor& like = world.geometry;
    const int64_t h = world.height, w = world.width;
    picture = torch::stable::new_empty(like, {pictures, h, w, 3}, ScalarType::Byte);
    ids = torch::stable::new_empty(like, {pictures, h, w}, ScalarType::Short);
    depth = torch::stable::new_empty(like, {pictures, h, w}, ScalarType::Float);
    normals = torch::stable::new_empty(like, {pictures, h, w, 3}, ScalarType::Float);
  }

  World world(const WorldTensors& tensors) const {
    World w = tensors.world();
    w.colors = colors.const_data_ptr<float>();
    w.lamps = lamps.const_data_ptr<double>();
    return w;
  }

  Drawing drawing(float* maps, int64_t first, int64_t samples, double grain) const {
    return {seeds.const_data_ptr<int64_t>(),
            maps,
            first,
            ids.mutable_data_ptr<int16_t>(),
            depth.mutable_data_ptr<float>(),
            normals.mutable_data_ptr<float>(),
            picture.mutable_data_ptr<uint8_t>(),
            static_cast<int32_t>(samples),
            static_cast<float>(grain)};
  }
};

}  // namespace
}  // namespace pyvqa
