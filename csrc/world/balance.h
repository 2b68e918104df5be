// How often each answer of a template was given, and when one has been given too often
// (clevr-dataset-gen question_generation/generate_questions.py).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "world/template.h"

namespace pyvqa::world {

class AnswerBalance {
 public:
  explicit AnswerBalance(AnswerRange range)
      : range_(range), counts_(static_cast<size_t>(range.count)) {}

  bool contains(int answer) const {
    return answer >= range_.first && answer < range_.first + range_.count;
  }

  // Not when the answer leads the second most frequent one by more than a tenth, or has five times
  // the median (of at least 5).
  bool allows(int answer) const {
    std::vector<int64_t> sorted = counts_;
    std::sort(sorted.begin(), sorted.end());
    const int64_t count = counts_[static_cast<size_t>(answer - range_.first)];
    const int64_t second = sorted[sorted.size() - 2],
                  median = std::max<int64_t>(sorted[sorted.size() / 2], 5);
    return 10 * count <= 11 * second && count <= 5 * median;
  }

  void add(int answer) { ++counts_[static_cast<size_t>(answer - range_.first)]; }

 private:
  AnswerRange range_;
  std::vector<int64_t> counts_;
};

}  // namespace pyvqa::world
