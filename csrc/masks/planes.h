// One mask at a time between bytes, rows of bits, columns of bits and extents; once per instruction
// set.
#pragma once

#include <cstring>

#include "masks/bits.h"
#include "masks/bytes.h"
#include "masks/lines.h"

namespace pyvqa::masks {
namespace {

struct Span {
  int64_t first, last;  // last exclusive
};

// How a thread's scratch memory is used. `lines` is all 0 between two masks.
struct Scratch {
  uint64_t* lines;  // the mask's columns, or its rows
  uint64_t* rows;

  PV_HD Scratch(uint64_t* words, int64_t height, int64_t width)
      : lines(words), rows(words + line_words(height, width)) {}

  static PV_HD int64_t words(int64_t height, int64_t width) {
    return line_words(height, width) + row_words(height, width);
  }
  static PV_HD int64_t row_words(int64_t height, int64_t width) {
    return height * words_for(width);
  }
  static PV_HD int64_t line_words(int64_t height, int64_t width) {
    return larger(width * words_for(height), row_words(height, width));
  }
};

// Masks are read once, faster than a processor looks ahead by itself: 1.4 times the bandwidth here.
PV_HD void look_ahead(const uint8_t* bytes) {
  constexpr uintptr_t kDistance = 8192;
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(bytes) + kDistance));
}

// Packs one line; returns a word that is 0 if the line is.
PV_HD uint64_t pack_line(const uint8_t* bytes, int64_t step, int64_t length, uint64_t* out) {
  uint64_t any = 0;
  int64_t at = 0;
  for (; step == 1 && at + kWordBits <= length; at += kWordBits) {
    look_ahead(bytes + at);
    const uint64_t word = bits_of_64(bytes + at);
    *out++ = word;
    any |= word;
  }
  for (; at < length; at += kWordBits) {
    const int64_t rest = smaller(length - at, kWordBits);
    const uint64_t word = step == 1 ? bits_of_last(bytes + at, rest, length)
                                    : bits_of_strided(bytes + at * step, step, rest);
    *out++ = word;
    any |= word;
  }
  return any;
}

// Packs the bytes of `lines` lines; returns the lines that have ones.
PV_HD Span pack_lines(const uint8_t* bytes, int64_t line_step, int64_t step, int64_t lines,
                      int64_t length, uint64_t* out) {
  const int64_t words = words_for(length);
  int64_t first = 0, last = 0;
  for (int64_t line = 0; line < lines; ++line) {
    if (pack_line(bytes + line * line_step, step, length, out + line * words) == 0) continue;
    if (last == 0) first = line;
    last = line + 1;
  }
  return {first, last};
}

// The lines that are not all 0.
PV_HD Span lines_with_ones(const uint64_t* bits, int64_t lines, int64_t words) {
  int64_t first = 0, last = lines * words;
  while (first < last && bits[first] == 0) ++first;
  while (last > first && bits[last - 1] == 0) --last;
  return first == last ? Span{0, 0} : Span{first / words, (last - 1) / words + 1};
}

// The extent of rows of bits, whose ones lie in `rows`.
PV_HD Extent measure(const uint64_t* bits, int64_t width, const Span& rows) {
  if (rows.first == rows.last) return {0, 0, 0, 0, 0};
  constexpr int64_t kGroup = 8;
  const int64_t words = words_for(width);
  int64_t first = words, last = 0, left = 0, right = 0;
  for (int64_t from = 0; from < words; from += kGroup) {
    uint64_t any[kGroup] = {};
    const int64_t group = smaller(kGroup, words - from);
    for (int64_t y = rows.first; y < rows.last; ++y) {
      const uint64_t* row = bits + y * words + from;
      if (group == kGroup) {
        for (int64_t k = 0; k < kGroup; ++k) any[k] |= row[k];
      } else {
        for (int64_t k = 0; k < group; ++k) any[k] |= row[k];
      }
    }
    for (int64_t k = 0; k < group; ++k) {
      const int64_t w = from + k;
      const uint64_t word = any[k] & low_bits(width - w * kWordBits);
      if (word == 0) continue;
      if (last == 0) left = w * kWordBits + lowest_one(word);
      first = smaller(first, w);
      last = w + 1;
      right = w * kWordBits + highest_one(word) + 1;
    }
  }
  int64_t area = 0;
  for (int64_t y = rows.first; y < rows.last; ++y) {
    for (int64_t w = first; w < last; ++w) {
      area += count_ones(bits[y * words + w] & low_bits(width - w * kWordBits));
    }
  }
  if (area == 0) return {0, 0, 0, 0, 0};
  return {static_cast<int32_t>(left), static_cast<int32_t>(rows.first), static_cast<int32_t>(right),
          static_cast<int32_t>(rows.last), static_cast<int32_t>(area)};
}

PV_HD Extent turned(const Extent& e) { return {e.top, e.left, e.bottom, e.right, e.area}; }

PV_HD void store(const Extent& e, int32_t* fields) {
  fields[0] = e.left;
  fields[1] = e.top;
  fields[2] = e.right;
  fields[3] = e.bottom;
  fields[4] = e.area;
}

// Lines of bits turned over in blocks of 64 x 64: line i, bit k becomes line k, bit i. Only the
// blocks that the box touches are read and written.
PV_HD void turn_over(const Lines& from, const LineBox& box, uint64_t* to, int64_t to_stride) {
  for (int64_t tile = box.first_line / kWordBits; tile * kWordBits < box.last_line; ++tile) {
    const int64_t lines = smaller(from.count - tile * kWordBits, kWordBits);
    for (int64_t word = box.first_bit / kWordBits; word * kWordBits < box.last_bit; ++word) {
      uint64_t block[kWordBits];
      const uint64_t* source = from.words + tile * kWordBits * from.stride + word;
      for (int64_t i = 0; i < lines; ++i) block[i] = source[i * from.stride];
      for (int64_t i = lines; i < kWordBits; ++i) block[i] = 0;
      transpose_64(block);
      const int64_t bits = smaller(from.length - word * kWordBits, kWordBits);
      uint64_t* target = to + word * kWordBits * to_stride + tile;
      for (int64_t k = 0; k < bits; ++k) target[k * to_stride] = block[k];
    }
  }
}

PV_HD Lines row_lines(const uint64_t* words, int64_t height, int64_t width) {
  return {words, words_for(width), height, width};
}

PV_HD Lines column_lines(const uint64_t* words, int64_t height, int64_t width) {
  return {words, words_for(height), width, height};
}

PV_HD LineBox row_box(const Extent& e) { return {e.top, e.bottom, e.left, e.right}; }
PV_HD LineBox column_box(const Extent& e) { return {e.left, e.right, e.top, e.bottom}; }

// Writes a mask's bytes from its rows of bits, of which only the words inside the box are read.
PV_HD void write_bytes(const uint64_t* rows, const Extent& box, int64_t height, int64_t width,
                       uint8_t* bytes) {
  const int64_t words = words_for(width), first = box.left / kWordBits;
  int64_t done = 0;  // bytes written
  for (int64_t y = box.top; y < box.bottom; ++y) {
    const int64_t start = y * width + first * kWordBits;
    memset(bytes + done, 0, static_cast<size_t>(start - done));
    const int64_t end =
        smaller((words_for(box.right) - first) * kWordBits, width - first * kWordBits);
    const uint64_t* row = rows + y * words + first;
    int64_t at = 0;
    for (; at + kWordBits <= end; at += kWordBits) bytes_of_64(*row++, bytes + start + at);
    if (at < end) bytes_of_fewer(*row, bytes + start + at, end - at);
    done = start + end;
  }
  memset(bytes + done, 0, static_cast<size_t>(height * width - done));
}

}  // namespace
}  // namespace pyvqa::masks
