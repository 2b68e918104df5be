// The CPU kernels' face: one region, one function per instruction set; no torch.
#pragma once

#include <cstdint>

namespace pyvqa {

enum class Storage : int { f32, f64, bf16, f16 };

// A sparse row of weights for every place along one axis: entries [begin[i], begin[i + 1]) say
// which places on the other side are mixed into place i.
template <class A>
struct Entry {
  A weight;
  int32_t index;
};
template <class A>
struct Table {
  const int32_t* begin;
  const Entry<A>* entries;
  int32_t size;
};

// The k-th entries of 16 neighbouring places, for kernels that work on 16 places at a time; bit j
// of `present` says that place j has a k-th entry.
struct alignas(64) Lanes {
  int32_t index[16];
  float weight[16];
  uint32_t present;
};

// A table as lanes: `depth` of them for each group of 16 places; null where it is not needed.
struct LaneTable {
  const Lanes* lanes;
  int32_t groups, depth;
};

// Where a window of [channels, rows, columns] lies; strides in elements.
struct Window {
  void* data;
  int64_t channel, row, column;
};

// to[c, i, j] = or += sum over the entries of rows.i and columns.j of their weights times from[c].
// `rows` and `columns` are a Table of the type that `storage` is computed in.
struct Resample {
  Window from, to;
  const void* rows;
  const void* columns;
  LaneTable column_lanes;  // indices count from first_column
  int64_t channels;
  int32_t column_span;  // the columns of `from` that occur lie in [first_column, + column_span)
  int32_t first_column;
  void* work;  // for planes: resample_work(...) numbers of the computing type
  Storage storage;
  bool past_cache;  // `to` is part of something larger than the caches
};

// Copies a window of any storage type to or from one of the computing type.
struct Transfer {
  Window stored, wide;
  int64_t channels, rows, columns;
  Storage storage;
};

// roi_forward_*: from and to are stored alike; roi_backward_*: both are of the computing type and
// `to` is added to. *_channels need channel strides of 1, *_planes column strides of 1 in `to`.
#define PV_DECLARE(isa)                                \
  void roi_forward_channels_##isa(const Resample& r);  \
  void roi_forward_planes_##isa(const Resample& r);    \
  void roi_backward_channels_##isa(const Resample& r); \
  void roi_backward_planes_##isa(const Resample& r);   \
  void roi_widen_##isa(const Transfer& t);             \
  void roi_add_##isa(const Transfer& t);
PV_DECLARE(base)
PV_DECLARE(avx2)
PV_DECLARE(avx512)
#undef PV_DECLARE

}  // namespace pyvqa
