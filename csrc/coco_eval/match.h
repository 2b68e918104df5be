// COCO's matching of detections to ground truth: all thresholds and area ranges in one pass over
// the detections. Memory is linear in detections and truths.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "coco_eval/groups.h"
#include "coco_eval/overlap.h"

namespace pyvqa::coco {

enum class Outcome : uint8_t { wrong = 0, right = 1, uncounted = 2 };

// What matching found: D detections that were looked at, in sections (categories, or one for all),
// within these by picture, then falling score.
struct Matches {
  int64_t sections = 0, areas = 0, thresholds = 0;
  std::vector<int64_t> positives;      // [sections, areas] truths that count
  std::vector<int64_t> section_begin;  // [sections + 1] into the detections
  std::vector<int64_t> detection;      // [D] position in the input
  std::vector<int64_t> rank;           // [D] place among those of the same picture (and category)
  std::vector<double> score;           // [D]
  std::vector<Outcome> outcome;        // [D, areas, thresholds]
};

namespace detail {

// The truths of one group and what has happened to them so far.
class Group {
 public:
  Group(const Truths& truths, const Detections& detections, const Settings& settings)
      : truths_(truths), detections_(detections), settings_(settings) {
    // A match needs to reach its threshold, and any overlap but a perfect one to be improvable.
    for (const double t : settings.iou_thresholds) limits_.push_back(std::min(t, 1 - 1e-10));
    lowest_ = std::numeric_limits<double>::infinity();
    for (const double limit : limits_) lowest_ = std::min(lowest_, limit);
  }

  void open(const Member* begin, const Member* end, int64_t* positives) {
    members_ = begin;
    size_ = end - begin;
    ignored_.assign(static_cast<size_t>(size_ * settings_.areas()), 0);
    taken_.assign(static_cast<size_t>(size_ * settings_.areas() * settings_.thresholds()), 0);
    for (int64_t a = 0; a < settings_.areas(); ++a) {
      for (int64_t g = 0; g < size_; ++g) {
        const int64_t truth = begin[g].index;
        const bool ignored = truths_.crowd[truth] || outside(truths_.area[truth], a);
        ignored_[a * size_ + g] = ignored;
        positives[a] += !ignored;
      }
    }
  }

  // Appends the outcomes [areas, thresholds] of a detection.
  void match(int64_t detection, std::vector<Outcome>& outcomes) {
    find_candidates(detection);
    for (int64_t a = 0; a < settings_.areas(); ++a) {
      const bool outside_area = outside(detections_.area[detection], a);
      for (int64_t t = 0; t < settings_.thresholds(); ++t) {
        const int64_t best = candidates_.empty() ? -1 : best_truth(a, t);
        outcomes.push_back(settle(detection, best, a, t, outside_area));
      }
    }
  }

 private:
  struct Candidate {
    int64_t truth;  // within the group
    double iou;
    bool crowd;
  };

  bool outside(double area, int64_t range) const {
    const double* limits = settings_.area_ranges.data() + 2 * range;
    return area < limits[0] || area > limits[1];
  }

  double overlap(int64_t detection, int64_t truth, bool crowd) const {
    if (detections_.masks != nullptr) {
      return mask_overlap(*detections_.masks, detection, *truths_.masks, truth, crowd);
    }
    return box_overlap(detections_.boxes + 4 * detection, truths_.boxes + 4 * truth, crowd);
  }

  // Those that reach some threshold. An overlap that is no number reaches all, and so does every
  // other truth once it has been chosen: then none can be left out.
  void find_candidates(int64_t detection) {
    candidates_.clear();
    bool numbers = true;
    for (int64_t g = 0; g < size_; ++g) {
      const int64_t truth = members_[g].index;
      const bool crowd = truths_.crowd[truth] != 0;
      const double iou = overlap(detection, truth, crowd);
      if (iou < lowest_) continue;
      numbers = numbers && iou == iou;
      candidates_.push_back({g, iou, crowd});
    }
    if (numbers) return;
    candidates_.clear();
    for (int64_t g = 0; g < size_; ++g) {
      const int64_t truth = members_[g].index;
      const bool crowd = truths_.crowd[truth] != 0;
      candidates_.push_back({g, overlap(detection, truth, crowd), crowd});
    }
  }

  // The free candidate of the highest overlap, the last one of equals; one that does not count
  // only if none that counts will do. -1 if there is none.
  int64_t best_truth(int64_t area, int64_t threshold) const {
    const uint8_t* ignored = ignored_.data() + area * size_;
    const uint8_t* taken = taken_.data() + (area * settings_.thresholds() + threshold) * size_;
    int64_t best = -1;
    double iou = limits_[threshold];
    for (uint8_t pass = 0; pass < 2 && best < 0; ++pass) {
      for (const Candidate& candidate : candidates_) {
        if (ignored[candidate.truth] != pass) continue;
        if ((taken[candidate.truth] && !candidate.crowd) || candidate.iou < iou) continue;
        iou = candidate.iou;
        best = candidate.truth;
      }
    }
    return best;
  }

  // Ids are what the reference remembers matches by: a truth whose id is 0 is not seen as matched
  // afterwards, nor is one taken by a detection whose id is 0 or less.
  Outcome settle(int64_t detection, int64_t best, int64_t area, int64_t threshold,
                 bool outside_area) {
    bool matched = false, ignored = false;
    if (best >= 0) {
      matched = truths_.id[members_[best].index] != 0;
      ignored = ignored_[area * size_ + best] != 0;
      taken_[(area * settings_.thresholds() + threshold) * size_ + best] =
          detections_.id[detection] > 0;
    }
    if (ignored || (!matched && outside_area)) return Outcome::uncounted;
    return matched ? Outcome::right : Outcome::wrong;
  }

  const Truths& truths_;
  const Detections& detections_;
  const Settings& settings_;
  std::vector<double> limits_;
  double lowest_;
  const Member* members_ = nullptr;
  int64_t size_ = 0;
  std::vector<uint8_t> ignored_;  // [areas, truths]
  std::vector<uint8_t> taken_;    // [areas, thresholds, truths]
  std::vector<Candidate> candidates_;
};

// The first member from `from` on that belongs to another group.
inline size_t group_end(const std::vector<Member>& list, size_t from) {
  size_t end = from;
  while (end < list.size() && list[end].same_group(list[from])) ++end;
  return end;
}

}  // namespace detail

// `images` and `categories` list what is evaluated, each once, in the order that counts.
inline Matches evaluate(const Truths& truths, const Detections& detections, const Positions& images,
                        const Positions& categories, const Settings& settings) {
  std::vector<Member> given = members(truths, images, categories, settings.by_category);
  std::vector<Member> found = members(detections, images, categories, settings.by_category);
  sort_truths(given);
  sort_detections(found, detections.score);
  Matches out;
  out.sections = settings.by_category ? categories.size() : 1;
  out.areas = settings.areas();
  out.thresholds = settings.thresholds();
  out.positives.assign(static_cast<size_t>(out.sections * out.areas), 0);
  out.section_begin.assign(static_cast<size_t>(out.sections + 1), 0);
  out.outcome.reserve(found.size() * static_cast<size_t>(out.areas * out.thresholds));
  detail::Group group(truths, detections, settings);
  size_t g = 0, d = 0;
  while (g < given.size() || d < found.size()) {
    const bool truths_first =
        d == found.size() || (g < given.size() && !found[d].group_before(given[g]));
    const Member current = truths_first ? given[g] : found[d];
    const size_t g_end = truths_first ? detail::group_end(given, g) : g;
    group.open(given.data() + g, given.data() + g_end,
               out.positives.data() + current.section * out.areas);
    g = g_end;
    for (int64_t rank = 0; d < found.size() && found[d].same_group(current); ++d, ++rank) {
      if (rank >= settings.max_detections) continue;
      const int64_t detection = found[d].index;
      group.match(detection, out.outcome);
      out.detection.push_back(detection);
      out.rank.push_back(rank);
      out.score.push_back(detections.score[detection]);
      ++out.section_begin[current.section + 1];
    }
  }
  for (int64_t s = 0; s < out.sections; ++s) out.section_begin[s + 1] += out.section_begin[s];
  return out;
}

}  // namespace pyvqa::coco
