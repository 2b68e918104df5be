// Masks as spans of their ones over the columns of the picture: what overlaps are counted on.
// Torch-free; errors are std::invalid_argument.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "masks/rle.h"

namespace pyvqa::coco {

struct Span {  // pixels [begin, end), numbered down the columns
  uint32_t begin, end;
};

struct Frame {  // what is known of a mask without its spans
  int64_t height, width;
  int64_t area;
  double box[4];  // x, y, width, height of its ones; all zeros if there are none
};

// N masks, which may differ in size.
class MaskSet {
 public:
  int64_t size() const { return static_cast<int64_t>(frames_.size()); }
  const Frame& frame(int64_t mask) const { return frames_[mask]; }
  const Span* begin(int64_t mask) const { return spans_.data() + offsets_[mask]; }
  const Span* end(int64_t mask) const { return spans_.data() + offsets_[mask + 1]; }

  void add(const masks::Runs& runs, int64_t height, int64_t width) {
    int64_t at = 0;
    for (size_t k = 0; k < runs.size(); ++k) {
      if (k % 2 == 1) push(at, at + runs[k]);
      at += runs[k];
    }
    close(height, width);
  }

  // Spans in any order, overlapping or not, of one mask.
  void add(std::vector<Span>& spans, int64_t height, int64_t width) {
    std::sort(spans.begin(), spans.end(), [](Span a, Span b) { return a.begin < b.begin; });
    for (const Span& span : spans) push(span.begin, span.end);
    close(height, width);
  }

 private:
  // Appends to the open mask; touching spans become one.
  void push(int64_t begin, int64_t end) {
    if (begin == end) return;
    const bool first = spans_.size() == static_cast<size_t>(offsets_.back());
    if (!first && begin <= spans_.back().end) {
      spans_.back().end = std::max(spans_.back().end, static_cast<uint32_t>(end));
    } else {
      spans_.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
    }
  }

  void close(int64_t height, int64_t width) {
    Frame frame{height, width, 0, {}};
    int64_t left = INT64_MAX, right = -1, top = INT64_MAX, bottom = -1;
    for (size_t k = offsets_.back(); k < spans_.size(); ++k) {
      const int64_t begin = spans_[k].begin, end = spans_[k].end;
      const int64_t first = begin / height, last = (end - 1) / height;
      frame.area += end - begin;
      left = std::min(left, first);
      right = last;
      top = first == last ? std::min(top, begin - first * height) : 0;
      bottom = first == last ? std::max(bottom, end - 1 - last * height) : height - 1;
    }
    if (right >= 0) {
      const int64_t box[4] = {left, top, right - left + 1, bottom - top + 1};
      for (int c = 0; c < 4; ++c) frame.box[c] = static_cast<double>(box[c]);
    }
    frames_.push_back(frame);
    offsets_.push_back(static_cast<int64_t>(spans_.size()));
  }

  std::vector<Span> spans_;
  std::vector<int64_t> offsets_{0};
  std::vector<Frame> frames_;
};

// Pixels that two lists of spans share.
inline int64_t shared_pixels(const Span* a, const Span* a_end, const Span* b, const Span* b_end) {
  const auto ends_before = [](const Span& span, uint32_t at) { return span.end <= at; };
  if (a == a_end || b == b_end) return 0;
  a = std::lower_bound(a, a_end, b->begin, ends_before);
  if (a == a_end) return 0;
  b = std::lower_bound(b, b_end, a->begin, ends_before);
  int64_t shared = 0;
  while (a != a_end && b != b_end) {
    const uint32_t begin = std::max(a->begin, b->begin), end = std::min(a->end, b->end);
    shared += end > begin ? end - begin : 0;
    const bool a_ends = a->end <= b->end, b_ends = b->end <= a->end;
    a += a_ends;
    b += b_ends;
  }
  return shared;
}

}  // namespace pyvqa::coco
