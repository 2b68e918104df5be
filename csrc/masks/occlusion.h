// Which objects of a scene are hidden in part: CLEVR-Ref+'s test on visible masks and whole boxes.
// Source: clevr-refplus-dataset-gen refexp_generation/refexp_engine.py (filter_visible).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "masks/rle.h"
#include "native/scene_table.h"

namespace pyvqa::masks {

// An object counts as hidden in part where another, nearer one covers this share of its box; a
// smaller share above zero makes the whole scene undecided.
inline constexpr double kOcclusionThreshold = 0.2;

struct Span {  // ones in one row: columns begin .. end - 1
  int32_t row, begin, end;
};

// Row runs cut at the ends of the rows.
inline void append_row_spans(const Runs& runs, int64_t width, std::vector<Span>& spans) {
  int64_t start = 0;
  for (size_t k = 0; k < runs.size(); ++k) {
    const int64_t stop = start + runs[k];
    while (k % 2 == 1 && start < stop) {
      const int64_t row = start / width;
      const int64_t end = std::min(stop, (row + 1) * width);
      spans.push_back({static_cast<int32_t>(row), static_cast<int32_t>(start - row * width),
                       static_cast<int32_t>(end - row * width)});
      start = end;
    }
    start = stop;
  }
}

// Share of the box that the spans cover; 0 for a box without area. The part of a box outside the
// image holds no pixels but counts in its area.
inline double covered_share(const Span* spans, int64_t count, const Box& box) {
  if (box.width <= 0 || box.height <= 0) return 0;
  int64_t pixels = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t row = spans[k].row;
    if (row < box.y || row - box.y >= box.height) continue;
    const int64_t begin = std::max<int64_t>(spans[k].begin - box.x, 0);
    const int64_t end = std::min<int64_t>(spans[k].end - box.x, box.width);
    pixels += std::max<int64_t>(end - begin, 0);
  }
  return static_cast<double>(pixels) /
         (static_cast<double>(box.width) * static_cast<double>(box.height));
}

// spans of object o: spans[offsets[o] .. offsets[o + 1]); depth: smaller is nearer, and of equal
// depths the earlier object counts as nearer. Writes the class of each object to `visibility`.
inline SceneVisibility occlusion(const Span* spans, const int64_t* offsets, const Box* boxes,
                                 const double* depth, int64_t count, Visibility* visibility) {
  std::fill_n(visibility, count, Visibility::fully);
  bool undecided = false;
  int64_t hidden = 0;
  for (int64_t a = 0; a < count; ++a) {
    for (int64_t b = a + 1; b < count; ++b) {
      const int64_t near = depth[b] < depth[a] ? b : a;
      const int64_t far = near == a ? b : a;
      const double share =
          covered_share(spans + offsets[near], offsets[near + 1] - offsets[near], boxes[far]);
      undecided |= share > 0 && share < kOcclusionThreshold;
      if (share >= kOcclusionThreshold && visibility[far] == Visibility::fully) {
        visibility[far] = Visibility::partially;
        ++hidden;
      }
    }
  }
  const bool usable = !undecided && hidden > 0 && hidden < count;
  return usable ? SceneVisibility::usable : SceneVisibility::invalid;
}

}  // namespace pyvqa::masks
