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
  const double* lamps;     // [B, 3, 3], null where only outlines count
  int64_t objects, pictures;
  int32_t height, width;
};

struct Prepared {
  void* solids;   // Solid [O]
  void* views;    // View [B]
  void* lights;   // Lights [B], null where only outlines count
  int64_t* ends;  // [B, 2]: first object and the one behind the last
};

// Where pictures are drawn.
struct Drawing {
  const int64_t* seeds;  // [B]
  float* maps;           // scratch: those of pictures from `first_map` on
  int64_t first_map;
  int16_t* ids;      // [B, height, width]
  float* depth;      // [B, height, width]
  float* normals;    // [B, height, width, 3]
  uint8_t* picture;  // [B, height, width, 3]
  int32_t samples;
  float grain;
};

#if !defined(PV_MAP_CELLS)  // a check of many small pictures has no time for large maps
#define PV_MAP_CELLS 128
#endif
constexpr int kMap = PV_MAP_CELLS;  // cells a side of the map of the ground's brightness
constexpr int kMapRows = kMap + 1;  // drawn one by one: the ground's, and the sky as the last
constexpr int kTile = 16;           // pixels a side of what is drawn at a time

// ids: [height, width] of picture b; scratch: 2 * (width rounded up to 16) words.
#define PV_DECLARE(isa)                                                                       \
  void prepare_##isa(const World& world, const Prepared& prepared, int64_t b);                \
  void id_rows_##isa(const World& world, const Prepared& prepared, int64_t b, int32_t begin,  \
                     int32_t end, int32_t* scratch, int16_t* ids);                            \
  void boxes_##isa(const World& world, int64_t b, int64_t* boxes);                            \
  void first_hits_##isa(const World& world, const Prepared& prepared, const Drawing& to,      \
                        int64_t b, int32_t begin, int32_t end, int32_t* scratch);             \
  void map_row_##isa(const Prepared& prepared, const Drawing& to, int64_t b, int32_t row);    \
  void tile_##isa(const World& world, const Prepared& prepared, const Drawing& to, int64_t b, \
                  int32_t x, int32_t y);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
