// The CPU kernels' face: one function of each per instruction set, raw pointers only.
#pragma once

#include <cstdint>

namespace pyvqa::masks {

// N masks of bytes, any byte but 0 a one; strides in bytes.
struct DenseMasks {
  const uint8_t* bytes;
  int64_t count, height, width;
  int64_t mask_stride, row_stride, column_stride;
};

// N masks as bits (masks/bits.h).
struct BitMasks {
  const uint64_t* bits;
  int64_t count, height, width;
};

// Runs of N masks one after the other: those of mask n are runs[offsets[n] .. offsets[n + 1]).
struct RunLists {
  const int32_t* runs;
  const int64_t* offsets;
  int64_t total;  // runs in all, which the offsets are held to
  int64_t count, height, width;
  bool by_rows;
};

// Where the runs of a mask go: gives memory for `count` of them.
struct RunSink {
  int32_t* (*room)(void* owner, int64_t count);
  void* owner;
};

struct IouCall {
  BitMasks a, b;
  const int32_t* a_extents;  // int32 [N, 5], boxes inside the image
  const int32_t* b_extents;  // int32 [M, 5], boxes inside the image
  const uint8_t* crowd;      // [M] or null
  bool iomin, has_vpopcntdq;
  double* out;  // [N, M]
};

struct NmsCall {
  BitMasks masks;
  const int32_t* extents;  // int32 [N, 5], boxes inside the image
  const int64_t* order;    // the masks, best first; a number that names no mask is passed over
  int64_t order_count;
  double iou_threshold, iomin_threshold;
  bool has_vpopcntdq;
  int64_t* keep;  // room for order_count
};

// `scratch` is memory of one thread: Scratch::words(height, width) (masks/planes.h), all 0.
#define PV_DECLARE(isa)                                                                         \
  void pack_masks_##isa(const DenseMasks& masks, uint64_t* bits, int32_t* extents,              \
                        uint64_t* scratch, int64_t begin, int64_t end);                         \
  void unpack_masks_##isa(const BitMasks& masks, uint8_t* bytes, int64_t begin, int64_t end);   \
  void mask_extents_##isa(const BitMasks& masks, int32_t* extents, int64_t begin, int64_t end); \
  void runs_of_dense_##isa(const DenseMasks& masks, bool by_rows, uint64_t* scratch,            \
                           const RunSink& sink, int64_t n);                                     \
  void runs_of_bits_##isa(const BitMasks& masks, bool by_rows, uint64_t* scratch,               \
                          const RunSink& sink, int64_t n);                                      \
  void bits_of_runs_##isa(const RunLists& lists, uint64_t* bits, int32_t* extents,              \
                          uint64_t* scratch, int64_t begin, int64_t end);                       \
  void bytes_of_runs_##isa(const RunLists& lists, uint8_t* bytes, uint64_t* scratch,            \
                           int64_t begin, int64_t end);                                         \
  void mask_iou_rows_##isa(const IouCall& call, int64_t begin, int64_t end);                    \
  int64_t mask_nms_##isa(const NmsCall& call);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa::masks
