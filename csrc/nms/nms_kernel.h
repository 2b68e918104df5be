// The CPU kernel's face: which boxes of some groups stay, one function per instruction set.
#pragma once

#include <cstdint>

namespace pyvqa {

// The boxes of one call in the order in which they are looked at, group after group.
struct NmsJob {
  const void* boxes;         // float or double [N, 4]
  const int32_t* order;      // box at each rank: by score, then by index
  const int32_t* ranks;      // rank at each place of the groups; null: one group, place = rank
  const int32_t* group_end;  // one past the last place of each group
  const void* rule;          // Rule<float> or Rule<double>
  bool wide;                 // double
  int64_t grid_from;         // by the grid once so many are kept; at most kNmsMostEarly
  uint8_t* stays;            // result by rank
  void* scratch;             // kNmsNumbersPerBox floats or doubles a box
  int64_t* comparisons;      // counts pairs of boxes that are compared, if not null: one group only
};

// Working memory: the four coordinates and the area of a kept box, and its share of the buckets.
constexpr int64_t kNmsNumbersPerBox = 6;
constexpr int64_t kNmsMostEarly = 1024;

#define PV_DECLARE(isa) void nms_groups_##isa(const NmsJob& job, int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
