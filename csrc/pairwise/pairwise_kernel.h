// The CPU kernels' face: one function per instruction set; no torch.
#pragma once

#include <cstdint>

#include "pairwise/pairwise.h"

namespace pyvqa {

// What the last product is computed in: `rounded` are float32 numbers that were rounded to
// bfloat16, `pairs` the dot products of bfloat16 that some CPUs have (avx512 only).
enum class PairPrecision : int { f64, f32, rounded, pairs };

struct PairSizes {
  int64_t regions, features, factors, outputs;  // N, K, F, D
};

struct PackJob {
  const void* weight;  // [D, K]
  void* packed;        // pairwise_packed_bytes
  PairSizes sizes;
  PairPrecision precision;
};

struct ForwardJob {
  const PairLayout* layout;
  const void *left, *right;  // [B, N, F]
  const void* packed;
  const void* bias;  // [D] or null
  void* out;         // [B, N, D]
  int32_t* argmax;   // [B, N, D]
  PairSizes sizes;
  PairPrecision precision;
  int64_t rows;  // pairs that are in the cache at a time
};

// Some regions of one image: numbers [first, first + count) of those that take part, which
// `members` lists in rising order.
struct ForwardTask {
  int64_t image;
  const int32_t* members;
  int32_t member_count, first, count;
};

// The gradient of some regions, of one image after another; everything below `place` is working
// memory, with room for `rows` winners of each of these regions.
struct BackwardJob {
  const PairLayout* layout;
  const void *left, *right, *weight, *grad;
  const int32_t* argmax;
  void *left_grad, *right_grad, *weight_grad;  // added to, left_grad is written
  PairSizes sizes;
  bool wide;              // float64
  int64_t first, count;   // of the regions of all images
  int64_t rows, stride;   // numbers of a row
  int32_t* place;         // [count, N]: the row of a winner, -1 of others
  int32_t* winners;       // [count, rows]
  int32_t* winner_count;  // [count]
  void* features;         // [count, rows, stride]
  void* slopes;           // [count, rows, stride]
  void* inverses;         // [count, rows, groups]
};

constexpr int64_t kPairRowPad = 16;  // numbers behind a row of features

// pairwise_packed_bytes: of all weights. pairwise_pack: blocks [begin, end) of those.
// pairwise_panel_bytes: the working memory of a task, for `rows` pairs of `nodes` regions each.
// pairwise_slopes: of regions [begin, end) of the job: their rows, and the gradient of the left
// factors. After that pairwise_weight_slopes, of outputs [begin, end), and pairwise_right_slopes,
// of units [begin, end), of which every image that the job touches has N.
#define PV_DECLARE(isa)                                                                    \
  int64_t pairwise_weight_blocks_##isa(const PairSizes& sizes, PairPrecision precision);   \
  int64_t pairwise_packed_bytes_##isa(const PairSizes& sizes, PairPrecision precision);    \
  int64_t pairwise_panel_bytes_##isa(const PairSizes& sizes, PairPrecision precision,      \
                                     int64_t nodes, int64_t rows, int64_t groups);         \
  void pairwise_pack_##isa(const PackJob& job, int64_t begin, int64_t end);                \
  void pairwise_forward_##isa(const ForwardJob& job, const ForwardTask& task, void* work); \
  void pairwise_slopes_##isa(const BackwardJob& job, int64_t begin, int64_t end);          \
  void pairwise_weight_slopes_##isa(const BackwardJob& job, int64_t begin, int64_t end);   \
  void pairwise_right_slopes_##isa(const BackwardJob& job, int64_t begin, int64_t end);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
