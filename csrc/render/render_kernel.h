// The CPU kernels' face: one function of each per instruction set. Pointers to Solid and View
// travel as void: their types are private to each file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyvqa {

// What the objects of B pictures are.
struct World {
  const double* geometry;  // [O, 5]
  const uint8_t* kinds;    // [O, 2]
  const float* colors;     // [O, 3], null where only outlines count
  const int64_t* offsets;  // [B + 1]
  const double* cameras;   // [B, 3]
  int64_t objects, pictures;
  int32_t height, width;
};

struct Prepared {
  void* solids;   // Solid [O]
  void* views;    // View [B]
  int64_t* ends;  // [B, 2]: first object and the one behind the last
};

size_t solid_bytes();
size_t view_bytes();

// ids: [height, width] of picture b; scratch: 2 * (width rounded up to 16) words.
#define PV_DECLARE(isa)                                                                      \
  void prepare_##isa(const World& world, const Prepared& prepared, int64_t b);               \
  void id_rows_##isa(const World& world, const Prepared& prepared, int64_t b, int32_t begin, \
                     int32_t end, int32_t* scratch, int16_t* ids);                           \
  void boxes_##isa(const World& world, int64_t b, int64_t* boxes);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
