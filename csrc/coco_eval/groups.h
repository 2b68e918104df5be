// Truths and detections sorted into groups, one per picture and category, without a table of all
// pictures times all categories.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "coco_eval/spans.h"

namespace pyvqa::coco {

struct Settings {
  std::vector<double> iou_thresholds;
  std::vector<double> area_ranges;  // low, high, low, high, ...
  int64_t max_detections = 100;     // of a picture (and category) that are looked at
  bool by_category = true;

  int64_t areas() const { return static_cast<int64_t>(area_ranges.size() / 2); }
  int64_t thresholds() const { return static_cast<int64_t>(iou_thresholds.size()); }
};

struct Objects {  // N boxes or masks and what belongs to each
  int64_t count = 0;
  const int64_t *image = nullptr, *category = nullptr, *id = nullptr;
  const double* area = nullptr;
  const double* boxes = nullptr;   // [N, 4] x, y, width, height; null where masks are compared
  const MaskSet* masks = nullptr;  // null where boxes are compared
};

struct Truths : Objects {
  const uint8_t* crowd = nullptr;
};

struct Detections : Objects {
  const double* score = nullptr;
};

// Finds the position of a value in a list without duplicates, -1 if it is not there.
class Positions {
 public:
  Positions(const int64_t* values, int64_t count) {
    for (int64_t k = 0; k < count; ++k) sorted_.push_back({values[k], k});
    std::sort(sorted_.begin(), sorted_.end(),
              [](const Entry& a, const Entry& b) { return a.value < b.value; });
  }

  int64_t of(int64_t value) const {
    const auto found =
        std::lower_bound(sorted_.begin(), sorted_.end(), value,
                         [](const Entry& entry, int64_t wanted) { return entry.value < wanted; });
    return found != sorted_.end() && found->value == value ? found->position : -1;
  }

  int64_t size() const { return static_cast<int64_t>(sorted_.size()); }

 private:
  struct Entry {
    int64_t value, position;
  };
  std::vector<Entry> sorted_;
};

struct Member {
  int64_t section, image;  // the group; the section is the category, 0 where all count as one
  int64_t category;
  int64_t index;

  bool same_group(const Member& other) const {
    return section == other.section && image == other.image;
  }
  bool group_before(const Member& other) const {
    return section != other.section ? section < other.section : image < other.image;
  }
  // The order in which a group's members are listed: by category, then as they came.
  bool listed_before(const Member& other) const {
    return category != other.category ? category < other.category : index < other.index;
  }
};

// Whether a score comes first: the higher one; NaN after all numbers.
inline bool score_before(double a, double b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

// The objects whose picture and category are evaluated.
inline std::vector<Member> members(const Objects& objects, const Positions& images,
                                   const Positions& categories, bool by_category) {
  std::vector<Member> found;
  found.reserve(static_cast<size_t>(objects.count));
  for (int64_t k = 0; k < objects.count; ++k) {
    const int64_t image = images.of(objects.image[k]);
    const int64_t category = categories.of(objects.category[k]);
    if (image < 0 || category < 0) continue;
    found.push_back({by_category ? category : 0, image, category, k});
  }
  return found;
}

inline void sort_truths(std::vector<Member>& truths) {
  std::sort(truths.begin(), truths.end(), [](const Member& a, const Member& b) {
    return a.same_group(b) ? a.listed_before(b) : a.group_before(b);
  });
}

// Within a group by falling score, equal scores as listed.
inline void sort_detections(std::vector<Member>& detections, const double* score) {
  std::sort(detections.begin(), detections.end(), [score](const Member& a, const Member& b) {
    if (!a.same_group(b)) return a.group_before(b);
    if (score_before(score[a.index], score[b.index])) return true;
    if (score_before(score[b.index], score[a.index])) return false;
    return a.listed_before(b);
  });
}

}  // namespace pyvqa::coco
