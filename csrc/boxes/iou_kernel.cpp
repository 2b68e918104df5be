// Compiled once per instruction set. The loops over pairs hold no branch, so that the compiler
// turns them into vectors; there are no fused operations, so all sets give the same bits.
#include "boxes/iou_kernel.h"

#include "boxes/iou.h"
#include "common/isa.h"

namespace pyvqa {
namespace {

constexpr int kTileBytes = 4096;  // of each of a tile's five columns: they stay in the first cache

// Boxes of the second set, one array per corner.
template <class T>
struct alignas(64) Tile {
  static constexpr int kBoxes = kTileBytes / static_cast<int>(sizeof(T));
  T x1[kBoxes], y1[kBoxes], x2[kBoxes], y2[kBoxes], area[kBoxes];
  int count;

  void load(const Rows& rows, int64_t batch, int64_t first, BoxFormat format, T one) {
    const int64_t left = rows.rows - first;
    count = left < kBoxes ? static_cast<int>(left) : kBoxes;
    const T* from =
        static_cast<const T*>(rows.data) + batch * rows.batch_stride + first * rows.row_stride;
    for (int j = 0; j < count; ++j) {
      const Box<T> box = load_box(from + j * rows.row_stride, rows.column_stride, format, one);
      x1[j] = box.x1;
      y1[j] = box.y1;
      x2[j] = box.x2;
      y2[j] = box.y2;
      area[j] = box.area;
    }
  }

  Box<T> at(int j) const { return {x1[j], y1[j], x2[j], y2[j], area[j]}; }
};

template <class T>
Box<T> load_row(const Rows& rows, int64_t batch, int64_t row, BoxFormat format, T one) {
  const T* from =
      static_cast<const T*>(rows.data) + batch * rows.batch_stride + row * rows.row_stride;
  return load_box(from, rows.column_stride, format, one);
}

template <bool kGeneralized, class T>
void overlap_row(const Box<T>& a, const Tile<T>& tile, T one, Ratio<T>* __restrict out) {
  for (int j = 0; j < tile.count; ++j) out[j] = overlap<kGeneralized>(a, tile.at(j), one);
}

// Calls f(batch, first row, last row) for each batch's share of the counted rows [begin, end).
template <class F>
void for_batches(const Rows& rows, int64_t begin, int64_t end, F f) {
  while (begin < end) {
    const int64_t batch = begin / rows.rows, start = batch * rows.rows;
    const int64_t stop = end < start + rows.rows ? end : start + rows.rows;
    f(batch, begin - start, stop - start);
    begin = stop;
  }
}

template <bool kGeneralized, class T>
void overlaps(const IouCall& call, Ratio<T>* result, int64_t begin, int64_t end) {
  const BoxFormat format = static_cast<BoxFormat>(call.format);
  const T one = side_excess<T>(call.inclusive);
  const int64_t wide = call.second.rows;
  for_batches(call.first, begin, end, [&](int64_t batch, int64_t first, int64_t last) {
    Ratio<T>* to = result + batch * call.first.rows * wide;
    Tile<T> tile;
    for (int64_t column = 0; column < wide; column += Tile<T>::kBoxes) {
      tile.load(call.second, batch, column, format, one);
      for (int64_t row = first; row < last; ++row) {
        const Box<T> box = load_row(call.first, batch, row, format, one);
        overlap_row<kGeneralized>(box, tile, one, to + row * wide + column);
      }
    }
  });
}

// Sums of the gradients of one box: part p holds those of the boxes j with j % kParts == p.
template <class T>
struct alignas(64) Parts {
  T x1[kParts], y1[kParts], x2[kParts], y2[kParts], area[kParts];

  void clear() {
    for (int p = 0; p < kParts; ++p) x1[p] = y1[p] = x2[p] = y2[p] = area[p] = T(0);
  }
  void add(int p, const Box<T>& g) {
    x1[p] += g.x1;
    y1[p] += g.y1;
    x2[p] += g.x2;
    y2[p] += g.y2;
    area[p] += g.area;
  }
  Box<T> sum() {
    for (int half = kParts / 2; half > 0; half /= 2) {
      for (int p = 0; p < half; ++p)
        add(p, {x1[p + half], y1[p + half], x2[p + half], y2[p + half], area[p + half]});
    }
    return {x1[0], y1[0], x2[0], y2[0], area[0]};
  }
};

// Adds what the boxes of a tile, which begins at a multiple of kParts, give to box `a`.
template <bool kGeneralized, class T>
void add_tile(const Box<T>& a, const Tile<T>& tile, T one, const T* gradient, int64_t stride,
              Parts<T>& parts) {
  int j = 0;
  for (; j + kParts <= tile.count; j += kParts) {
    T given[kParts];
    for (int p = 0; p < kParts; ++p) given[p] = gradient[(j + p) * stride];
    for (int p = 0; p < kParts; ++p)
      parts.add(p, overlap_gradient<kGeneralized>(a, tile.at(j + p), one, given[p]));
  }
  for (int p = 0; j + p < tile.count; ++p) {
    const T given = gradient[(j + p) * stride];
    parts.add(p, overlap_gradient<kGeneralized>(a, tile.at(j + p), one, given));
  }
}

constexpr int kTogether = 8;  // rows that share the loading of a tile

template <bool kGeneralized, class T>
void gradients_of_rows(const IouCall& call, const IouGradient& gradient, int64_t batch,
                       int64_t first, int count, T* to) {
  const BoxFormat format = static_cast<BoxFormat>(call.format);
  const T one = side_excess<T>(call.inclusive);
  const T* given = static_cast<const T*>(gradient.data) + batch * gradient.batch_stride;
  Box<T> boxes[kTogether];
  Parts<T> parts[kTogether];
  for (int r = 0; r < count; ++r) {
    boxes[r] = load_row(call.first, batch, first + r, format, one);
    parts[r].clear();
  }
  Tile<T> tile;
  for (int64_t column = 0; column < call.second.rows; column += Tile<T>::kBoxes) {
    tile.load(call.second, batch, column, format, one);
    for (int r = 0; r < count; ++r)
      add_tile<kGeneralized>(
          boxes[r], tile, one,
          given + (first + r) * gradient.first_stride + column * gradient.second_stride,
          gradient.second_stride, parts[r]);
  }
  for (int r = 0; r < count; ++r)
    store_box_gradient(parts[r].sum(), boxes[r], format, one, to + r * 4);
}

template <bool kGeneralized, class T>
void gradients(const IouCall& call, const IouGradient& gradient, T* to, int64_t begin,
               int64_t end) {
  for_batches(call.first, begin, end, [&](int64_t batch, int64_t first, int64_t last) {
    T* rows = to + batch * call.first.rows * 4;
    for (int64_t row = first; row < last; row += kTogether) {
      const int count = last - row < kTogether ? static_cast<int>(last - row) : kTogether;
      gradients_of_rows<kGeneralized>(call, gradient, batch, row, count, rows + row * 4);
    }
  });
}

template <class T>
void overlaps_of(const IouCall& call, void* result, int64_t begin, int64_t end) {
  Ratio<T>* to = static_cast<Ratio<T>*>(result);
  if (call.generalized) return overlaps<true, T>(call, to, begin, end);
  return overlaps<false, T>(call, to, begin, end);
}

template <class T>
void gradients_of(const IouCall& call, const IouGradient& gradient, void* to, int64_t begin,
                  int64_t end) {
  if (call.generalized) return gradients<true>(call, gradient, static_cast<T*>(to), begin, end);
  return gradients<false>(call, gradient, static_cast<T*>(to), begin, end);
}

}  // namespace

void PV_ISA_NAME(box_iou)(const IouCall& call, void* result, int64_t begin, int64_t end) {
  switch (call.number) {
    case Number::f32: return overlaps_of<float>(call, result, begin, end);
    case Number::f64: return overlaps_of<double>(call, result, begin, end);
    default: return overlaps_of<int64_t>(call, result, begin, end);
  }
}

void PV_ISA_NAME(box_iou_backward)(const IouCall& call, const IouGradient& gradient, void* to,
                                   int64_t begin, int64_t end) {
  if (call.number == Number::f64) return gradients_of<double>(call, gradient, to, begin, end);
  return gradients_of<float>(call, gradient, to, begin, end);
}

}  // namespace pyvqa
