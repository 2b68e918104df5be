// Compiled once per instruction set.
#include "masks/masks_kernel.h"

#include "common/isa.h"
#include "masks/bits.h"
#include "masks/common_pixels.h"
#include "masks/lines.h"
#include "masks/planes.h"

namespace pyvqa::masks {
namespace {

bool has_contiguous_columns(const DenseMasks& masks) {
  return masks.row_stride == 1 && masks.column_stride != 1;
}

const uint64_t* rows_of(const BitMasks& masks, int64_t n) {
  return masks.bits + n * masks.height * words_for(masks.width);
}

// Packs mask n along its rows, wherever its bytes lie.
Extent pack_rows(const DenseMasks& m, int64_t n, uint64_t* rows) {
  if (m.width == 0) return {0, 0, 0, 0, 0};  // however many rows
  const Span span = pack_lines(m.bytes + n * m.mask_stride, m.row_stride, m.column_stride, m.height,
                               m.width, rows);
  return measure(rows, m.width, span);
}

// Packs mask n along its columns, which are contiguous.
Extent pack_columns(const DenseMasks& m, int64_t n, uint64_t* columns) {
  if (m.height == 0) return {0, 0, 0, 0, 0};
  const Span span = pack_lines(m.bytes + n * m.mask_stride, m.column_stride, m.row_stride, m.width,
                               m.height, columns);
  return turned(measure(columns, m.height, span));
}

void emit(const Lines& lines, const LineBox& box, const RunSink& sink) {
  write_runs(lines, box, sink.room(sink.owner, count_runs(lines, box)));
}

void emit_rows(const uint64_t* rows, const Extent& extent, int64_t height, int64_t width,
               const RunSink& sink) {
  emit(row_lines(rows, height, width), row_box(extent), sink);
}

void emit_columns(const uint64_t* columns, const Extent& extent, int64_t height, int64_t width,
                  const RunSink& sink) {
  emit(column_lines(columns, height, width), column_box(extent), sink);
}

// Rows, as packed, to runs in either order.
void emit_from_rows(const uint64_t* rows, const Extent& extent, int64_t height, int64_t width,
                    bool by_rows, uint64_t* columns, const RunSink& sink) {
  if (by_rows) return emit_rows(rows, extent, height, width, sink);
  turn_over(row_lines(rows, height, width), row_box(extent), columns, words_for(height));
  emit_columns(columns, extent, height, width, sink);
}

struct RunsOfMask {
  const int32_t* runs;
  int64_t count;
};

// The runs of mask n; whatever the offsets hold, they are runs of the list.
RunsOfMask runs_of(const RunLists& lists, int64_t n) {
  const int64_t begin = smaller(larger(lists.offsets[n], int64_t{0}), lists.total);
  const int64_t end = smaller(larger(lists.offsets[n + 1], begin), lists.total);
  return {lists.runs + begin, end - begin};
}

void clear(const Lines& lines, const LineBox& box, uint64_t* words) {
  const int64_t first = box.first_bit / kWordBits;
  const int64_t bytes = (words_for(box.last_bit) - first) * 8;
  for (int64_t line = box.first_line; line < box.last_line; ++line) {
    memset(words + line * lines.stride + first, 0, static_cast<size_t>(bytes));
  }
}

Extent extent_of(const Painted& painted, bool by_rows) {
  const LineBox& b = painted.box;
  const Extent e{static_cast<int32_t>(b.first_bit), static_cast<int32_t>(b.first_line),
                 static_cast<int32_t>(b.last_bit), static_cast<int32_t>(b.last_line),
                 static_cast<int32_t>(painted.area)};
  return by_rows ? e : turned(e);
}

Extent extent_at(const int32_t* extents, int64_t n) {
  const int32_t* e = extents + n * kExtentFields;
  return {e[0], e[1], e[2], e[3], e[4]};
}

// Whether mask b, the worse one, is dropped because of a.
bool suppresses(const NmsCall& call, int64_t a, int64_t b) {
  const Extent ea = extent_at(call.extents, a), eb = extent_at(call.extents, b);
  const int64_t common = common_pixels(rows_of(call.masks, a), ea, rows_of(call.masks, b), eb,
                                       words_for(call.masks.width), call.has_vpopcntdq);
  return overlap_ratio(common, ea.area, eb.area, false, false) > call.iou_threshold ||
         overlap_ratio(common, ea.area, eb.area, false, true) > call.iomin_threshold;
}

}  // namespace

void PV_ISA_NAME(pack_masks)(const DenseMasks& m, uint64_t* bits, int32_t* extents,
                             uint64_t* scratch, int64_t begin, int64_t end) {
  const int64_t words = words_for(m.width), mask_words = m.height * words;
  for (int64_t n = begin; n < end; ++n) {
    uint64_t* rows = bits + n * mask_words;
    Extent extent;
    if (has_contiguous_columns(m)) {
      extent = pack_columns(m, n, scratch);
      memset(rows, 0, static_cast<size_t>(mask_words * 8));
      turn_over(column_lines(scratch, m.height, m.width), column_box(extent), rows, words);
    } else {
      extent = pack_rows(m, n, rows);
    }
    store(extent, extents + n * kExtentFields);
  }
}

void PV_ISA_NAME(unpack_masks)(const BitMasks& m, uint8_t* bytes, int64_t begin, int64_t end) {
  const Extent all{0, 0, static_cast<int32_t>(m.width), static_cast<int32_t>(m.height), 0};
  for (int64_t n = begin; n < end; ++n) {
    write_bytes(rows_of(m, n), all, m.height, m.width, bytes + n * m.height * m.width);
  }
}

void PV_ISA_NAME(mask_extents)(const BitMasks& m, int32_t* extents, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    const Span span = lines_with_ones(rows_of(m, n), m.height, words_for(m.width));
    store(measure(rows_of(m, n), m.width, span), extents + n * kExtentFields);
  }
}

void PV_ISA_NAME(runs_of_dense)(const DenseMasks& m, bool by_rows, uint64_t* scratch,
                                const RunSink& sink, int64_t n) {
  const Scratch memory(scratch, m.height, m.width);
  if (!by_rows && has_contiguous_columns(m)) {
    const Extent extent = pack_columns(m, n, memory.lines);
    return emit_columns(memory.lines, extent, m.height, m.width, sink);
  }
  const Extent extent = pack_rows(m, n, memory.rows);
  emit_from_rows(memory.rows, extent, m.height, m.width, by_rows, memory.lines, sink);
}

void PV_ISA_NAME(runs_of_bits)(const BitMasks& m, bool by_rows, uint64_t* scratch,
                               const RunSink& sink, int64_t n) {
  const uint64_t* rows = rows_of(m, n);
  const Extent extent = measure(rows, m.width, lines_with_ones(rows, m.height, words_for(m.width)));
  emit_from_rows(rows, extent, m.height, m.width, by_rows, scratch, sink);
}

void PV_ISA_NAME(bits_of_runs)(const RunLists& lists, uint64_t* bits, int32_t* extents,
                               uint64_t* scratch, int64_t begin, int64_t end) {
  const int64_t height = lists.height, width = lists.width;
  const int64_t words = words_for(width), mask_words = height * words;
  for (int64_t n = begin; n < end; ++n) {
    const RunsOfMask own = runs_of(lists, n);
    uint64_t* rows = bits + n * mask_words;
    memset(rows, 0, static_cast<size_t>(mask_words * 8));
    Painted painted;
    if (lists.by_rows) {
      painted = paint_runs(own.runs, own.count, row_lines(rows, height, width), rows);
    } else {
      const Lines columns = column_lines(scratch, height, width);
      painted = paint_runs(own.runs, own.count, columns, scratch);
      turn_over(columns, painted.box, rows, words);
      clear(columns, painted.box, scratch);
    }
    store(extent_of(painted, lists.by_rows), extents + n * kExtentFields);
  }
}

void PV_ISA_NAME(bytes_of_runs)(const RunLists& lists, uint8_t* bytes, uint64_t* scratch,
                                int64_t begin, int64_t end) {
  const int64_t height = lists.height, width = lists.width;
  const Scratch memory(scratch, height, width);
  const Lines lines = lists.by_rows ? row_lines(memory.lines, height, width)
                                    : column_lines(memory.lines, height, width);
  for (int64_t n = begin; n < end; ++n) {
    const RunsOfMask own = runs_of(lists, n);
    const Painted painted = paint_runs(own.runs, own.count, lines, memory.lines);
    const Extent extent = extent_of(painted, lists.by_rows);
    if (!lists.by_rows) turn_over(lines, painted.box, memory.rows, words_for(width));
    write_bytes(lists.by_rows ? memory.lines : memory.rows, extent, height, width,
                bytes + n * height * width);
    clear(lines, painted.box, memory.lines);
  }
}

void PV_ISA_NAME(mask_iou_rows)(const IouCall& call, int64_t begin, int64_t end) {
  const int64_t words = words_for(call.a.width), columns = call.b.count;
  for (int64_t i = begin; i < end; ++i) {
    const uint64_t* a = rows_of(call.a, i);
    const Extent a_extent = extent_at(call.a_extents, i);
    for (int64_t j = 0; j < columns; ++j) {
      const Extent b_extent = extent_at(call.b_extents, j);
      const int64_t common =
          common_pixels(a, a_extent, rows_of(call.b, j), b_extent, words, call.has_vpopcntdq);
      const bool crowd = call.crowd != nullptr && call.crowd[j] != 0;
      call.out[i * columns + j] =
          overlap_ratio(common, a_extent.area, b_extent.area, crowd, call.iomin);
    }
  }
}

int64_t PV_ISA_NAME(mask_nms)(const NmsCall& call) {
  int64_t kept = 0;
  for (int64_t k = 0; k < call.order_count; ++k) {
    const int64_t mask = call.order[k];
    if (mask < 0 || mask >= call.masks.count) continue;
    bool dropped = false;
    for (int64_t other = 0; other < kept && !dropped; ++other) {
      dropped = suppresses(call, call.keep[other], mask);
    }
    if (!dropped) call.keep[kept++] = mask;
  }
  return kept;
}

}  // namespace pyvqa::masks
