// Precision and recall over all pictures from matched detections.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "coco_eval/match.h"

namespace pyvqa::coco {

struct Curves {       // T thresholds, R recalls, K sections, A areas, M limits of detections
  double* precision;  // [T, R, K, A, M]
  double* scores;     // [T, R, K, A, M] score at which the recall is reached
  double* recall;     // [T, K, A, M]
};

namespace detail {

// One hit: how many misses came before it and which detection it is.
struct Hit {
  int64_t misses, place;
};

class Accumulator {
 public:
  Accumulator(const Matches& matches, const std::vector<double>& recalls,
              const std::vector<int64_t>& limits, const Curves& out)
      : matches_(matches), recalls_(recalls), limits_(limits), out_(out) {}

  void section(int64_t s) {
    const int64_t begin = matches_.section_begin[s], end = matches_.section_begin[s + 1];
    std::vector<int64_t> order(static_cast<size_t>(end - begin));
    std::iota(order.begin(), order.end(), begin);
    std::stable_sort(order.begin(), order.end(), [this](int64_t a, int64_t b) {
      return score_before(matches_.score[a], matches_.score[b]);
    });
    for (size_t m = 0; m < limits_.size(); ++m) {
      kept_.clear();
      for (const int64_t d : order) {
        if (matches_.rank[d] < limits_[m]) kept_.push_back(d);
      }
      for (int64_t a = 0; a < matches_.areas; ++a) {
        const int64_t positives = matches_.positives[s * matches_.areas + a];
        if (positives > 0) area(s, a, static_cast<int64_t>(m), positives);
      }
    }
  }

 private:
  void area(int64_t s, int64_t a, int64_t m, int64_t positives) {
    const int64_t count = static_cast<int64_t>(kept_.size()), thresholds = matches_.thresholds;
    hits_.resize(static_cast<size_t>(count * thresholds));
    hit_count_.assign(static_cast<size_t>(thresholds), 0);
    misses_.assign(static_cast<size_t>(thresholds), 0);
    for (int64_t place = 0; place < count; ++place) {
      const Outcome* outcome =
          matches_.outcome.data() + (kept_[place] * matches_.areas + a) * thresholds;
      for (int64_t t = 0; t < thresholds; ++t) {
        // Written whether it is a hit or not, and kept only if it is: no branch to mispredict.
        hits_[t * count + hit_count_[t]] = {misses_[t], place};
        hit_count_[t] += outcome[t] == Outcome::right;
        misses_[t] += outcome[t] == Outcome::wrong;
      }
    }
    for (int64_t t = 0; t < thresholds; ++t) {
      curve(hits_.data() + t * count, hit_count_[t], positives,
            ((t * matches_.sections + s) * matches_.areas + a) * limit_count() + m,
            curve_start(t, s, a, m));
    }
  }

  int64_t limit_count() const { return static_cast<int64_t>(limits_.size()); }
  int64_t recall_count() const { return static_cast<int64_t>(recalls_.size()); }
  int64_t recall_stride() const { return matches_.sections * matches_.areas * limit_count(); }
  int64_t curve_start(int64_t t, int64_t s, int64_t a, int64_t m) const {
    return t * recall_count() * recall_stride() + (s * matches_.areas + a) * limit_count() + m;
  }

  // The precision at a recall is the best one at that recall or beyond. It changes at hits only.
  void curve(const Hit* hits, int64_t count, int64_t positives, int64_t recall_at, int64_t start) {
    const double total = static_cast<double>(positives);
    out_.recall[recall_at] = static_cast<double>(count) / total;
    best_.resize(static_cast<size_t>(count));
    double best = 0;
    for (int64_t k = count - 1; k >= 0; --k) {
      const double right = static_cast<double>(k + 1), wrong = static_cast<double>(hits[k].misses);
      best = std::max(best, right / (wrong + right + std::numeric_limits<double>::epsilon()));
      best_[k] = best;
    }
    bool reached = !kept_.empty();
    for (int64_t r = 0; r < recall_count(); ++r) {
      const int64_t at = start + r * recall_stride();
      int64_t hit = 0, place = 0;
      reached = reached && find(recalls_[r], count, total, hit);
      if (reached && recalls_[r] > 0) place = hits[hit].place;
      out_.precision[at] = reached && count > 0 ? best_[hit] : 0;
      out_.scores[at] = reached ? matches_.score[kept_[place]] : 0;
    }
  }

  // The first hit that reaches a recall; false if none does. A recall of zero is reached by the
  // first detection, hit or not.
  static bool find(double recall, int64_t count, double total, int64_t& hit) {
    if (recall <= 0) return true;
    if (!(recall <= static_cast<double>(count) / total)) return false;
    const auto reaches = [&](int64_t k) { return static_cast<double>(k + 1) / total >= recall; };
    hit = std::min(static_cast<int64_t>(recall * total), count - 1);
    while (hit > 0 && reaches(hit - 1)) --hit;
    while (!reaches(hit)) ++hit;
    return true;
  }

  const Matches& matches_;
  const std::vector<double>& recalls_;
  const std::vector<int64_t>& limits_;
  const Curves& out_;
  std::vector<int64_t> kept_;  // detections within the limit, by falling score
  std::vector<Hit> hits_;      // [thresholds, kept]
  std::vector<int64_t> hit_count_, misses_;
  std::vector<double> best_;
};

}  // namespace detail

// Fills the curves, which hold -1 where nothing is to be found.
inline void accumulate(const Matches& matches, const std::vector<double>& recalls,
                       const std::vector<int64_t>& limits, const Curves& out) {
  detail::Accumulator accumulator(matches, recalls, limits, out);
  for (int64_t s = 0; s < matches.sections; ++s) accumulator.section(s);
}

}  // namespace pyvqa::coco
