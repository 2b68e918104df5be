// Runs along the lines of a mask: lines are rows for CLEVR-Ref+ and columns for COCO. A line is
// `words_for(length)` words of bits; host only, once per instruction set.
#pragma once

#include "masks/bits.h"

namespace pyvqa::masks {
namespace {

// The lines and the bits in them between which all ones lie; the ends are exclusive.
struct LineBox {
  int64_t first_line, last_line, first_bit, last_bit;
};

struct Lines {
  const uint64_t* words;
  int64_t stride;  // words from one line to the next
  int64_t count, length;
};

// Calls `emit` with the position of every change of value along all lines one after the other, the
// bit before the first being 0. Words outside the box are not read.
template <class Emit>
PV_HD void walk_changes(const Lines& lines, const LineBox& box, Emit&& emit) {
  const int64_t last_of_line = words_for(lines.length) - 1;
  const int64_t first = box.first_bit / kWordBits, last = words_for(box.last_bit) - 1;
  const int tail = static_cast<int>(lines.length - last_of_line * kWordBits);
  uint64_t before = 0;
  for (int64_t line = box.first_line; line < box.last_line; ++line) {
    const int64_t start = line * lines.length;
    const uint64_t* words = lines.words + line * lines.stride;
    if (before != 0 && first > 0) {  // the line begins with words that are 0
      emit(start);
      before = 0;
    }
    for (int64_t w = first; w <= last; ++w) {
      const uint64_t word = words[w];
      uint64_t changes = word ^ (word << 1 | before);
      before = word >> 63;
      if (w == last_of_line) {
        changes &= low_bits(tail);
        before = word >> (tail - 1) & 1;
      }
      for (; changes != 0; changes &= changes - 1)
        emit(start + w * kWordBits + lowest_one(changes));
    }
    if (before != 0 && last < last_of_line) {  // and goes on with words that are 0
      emit(start + (last + 1) * kWordBits);
      before = 0;
    }
  }
  if (before != 0 && box.last_line < lines.count) emit(box.last_line * lines.length);
}

// How many runs write_runs writes: at least one, and one more than there are changes.
inline __attribute__((always_inline)) int64_t count_runs(const Lines& lines, const LineBox& box) {
  int64_t runs = 1;
  walk_changes(lines, box, [&](int64_t) { ++runs; });
  return runs;
}

// Run lengths of zeros and ones in turn, zeros first.
inline __attribute__((always_inline)) void write_runs(const Lines& lines, const LineBox& box,
                                                      int32_t* runs) {
  int64_t at = 0;
  walk_changes(lines, box, [&](int64_t change) {
    *runs++ = static_cast<int32_t>(change - at);
    at = change;
  });
  *runs = static_cast<int32_t>(lines.count * lines.length - at);
}

// Sets the bits begin .. end - 1 of one line.
PV_HD void set_bits(uint64_t* line, int64_t begin, int64_t end) {
  const int64_t first = begin / kWordBits, last = (end - 1) / kWordBits;
  const uint64_t head = ~low_bits(begin % kWordBits);
  const uint64_t tail = low_bits(end - last * kWordBits);
  if (first == last) {
    line[first] |= head & tail;
    return;
  }
  line[first] |= head;
  for (int64_t w = first + 1; w < last; ++w) line[w] = ~uint64_t{0};
  line[last] |= tail;
}

// Sets the ones of a mask in lines that were all 0. Run lengths below zero count as zero and what
// passes the end is cut, so any list gives a mask. Returns the box of the ones and their number.
struct Painted {
  LineBox box;
  int64_t area;
};

PV_HD Painted paint_runs(const int32_t* runs, int64_t count, const Lines& lines, uint64_t* words) {
  const int64_t pixels = lines.count * lines.length;
  LineBox box{0, 0, lines.length, 0};
  int64_t area = 0, at = 0, line = 0;
  for (int64_t k = 0; k < count && at < pixels; ++k) {
    int64_t start = at;
    at = smaller(at + larger(runs[k], 0), pixels);
    if (k % 2 == 0 || at == start) continue;
    if (start >= (line + 1) * lines.length) {
      line = static_cast<uint32_t>(start) / static_cast<uint32_t>(lines.length);
    }
    if (area == 0) box.first_line = line;
    area += at - start;
    for (;; ++line) {
      const int64_t origin = line * lines.length;
      const int64_t begin = start - origin, end = smaller(at - origin, lines.length);
      set_bits(words + line * lines.stride, begin, end);
      box.first_bit = smaller(box.first_bit, begin);
      box.last_bit = larger(box.last_bit, end);
      start = origin + lines.length;
      if (at <= start) break;
    }
    box.last_line = line + 1;
  }
  if (area == 0) box.first_bit = 0;
  return {box, area};
}

}  // namespace
}  // namespace pyvqa::masks
