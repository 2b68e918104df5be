// Windows of maps and cells, and how work is cut up, for both directions on the CPU.
#pragma once

#include <algorithm>

#include "roi_align/roi_align_check.h"
#include "roi_align/roi_align_kernel.h"

namespace pyvqa {
namespace {

constexpr int64_t kGroup = 32;  // regions planned together

inline Storage storage_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case ScalarType::Double: return Storage::f64;
    case ScalarType::BFloat16: return Storage::bf16;
    case ScalarType::Half: return Storage::f16;
    default: return Storage::f32;
  }
}

inline Window shifted(const Window& window, size_t element_size, int64_t elements) {
  Window moved = window;
  if (elements != 0) moved.data = static_cast<char*>(window.data) + elements * element_size;
  return moved;
}

inline Window map_window(const RoiLevel& level, size_t element_size, int64_t image,
                         int64_t channel) {
  return shifted({level.data, level.channel, level.row, level.column}, element_size,
                 image * level.image + channel * level.channel);
}

inline Window cell_window(const RoiCells& cells, size_t element_size, int64_t roi,
                          int64_t channel) {
  return shifted({cells.data, cells.channel, cells.row, cells.column}, element_size,
                 roi * cells.roi + channel * cells.channel);
}

// Pieces that a number of things is cut into, one for each thread or a few more.
inline int64_t pieces_for_threads(int64_t things) {
  const int64_t threads = torch::stable::get_num_threads();
  return std::max(int64_t{1}, std::min(things, threads == 1 ? 1 : 2 * threads));
}

}  // namespace
}  // namespace pyvqa
