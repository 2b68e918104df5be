#include <algorithm>
#include <vector>

#include "masks/masks_check.h"
#include "masks/match.h"

namespace pyvqa::masks {
namespace {

constexpr int64_t kGrainPairs = 1 << 14;

void match_rows(const Overlaps& o, bool best, int64_t* matched) {
  const int64_t rows = std::max<int64_t>(1, kGrainPairs / std::max<int64_t>(1, o.columns));
  torch::stable::parallel_for(0, o.rows, rows, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      matched[row] = best ? best_column(o, row, nullptr) : first_column(o, row);
    }
  });
}

// Pairs from the largest overlap down, of equals the first row and in it the first column, each
// taken if its row and its column are still free.
void match_greedily(const Overlaps& o, int64_t* matched) {
  std::vector<int64_t> pairs;
  for (int64_t k = 0; k < o.rows * o.columns; ++k) {
    if (o.values[k] > o.threshold) pairs.push_back(k);
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](int64_t a, int64_t b) { return o.values[a] > o.values[b]; });
  std::fill_n(matched, o.rows, int64_t{-1});
  std::vector<bool> taken(static_cast<size_t>(o.columns));
  for (const int64_t pair : pairs) {
    const int64_t row = pair / o.columns, column = pair % o.columns;
    if (matched[row] >= 0 || taken[static_cast<size_t>(column)]) continue;
    matched[row] = column;
    taken[static_cast<size_t>(column)] = true;
  }
}

struct Alone {  // a team of one
  static constexpr int64_t index = 0, size = 1;
  void wait() const {}
  Nearest nearest(const Nearest& own) const { return own; }
};

void match_optimally(const Overlaps& o, int64_t* matched) {
  std::vector<int64_t> memory(static_cast<size_t>(assignment_words(o.rows, o.columns)));
  Assignment<Alone>(o, Alone{}, memory.data()).run(matched);
}

Tensor match_masks_cpu(const Tensor& overlap, double threshold, int64_t rule) {
  const MatchTensors t(overlap, threshold, rule);
  int64_t* matched = t.matched.mutable_data_ptr<int64_t>();
  switch (t.rule) {
    case MatchRule::first: match_rows(t.overlaps, false, matched); break;
    case MatchRule::best: match_rows(t.overlaps, true, matched); break;
    case MatchRule::greedy: match_greedily(t.overlaps, matched); break;
    case MatchRule::optimal: match_optimally(t.overlaps, matched); break;
  }
  return t.matched;
}

}  // namespace
}  // namespace pyvqa::masks

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CPU, m) {
  m.impl("match_masks", TORCH_BOX(&pyvqa::masks::match_masks_cpu));
}
