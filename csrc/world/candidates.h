// Ways to fill a filter node: all of one node at once, as bit masks over the scene's objects.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "world/random.h"
#include "world/template.h"

namespace pyvqa::world {

struct Candidate {
  std::array<int8_t, kAttributes> value{kNone, kNone, kNone,
                                        kNone};  // position in the attribute's list
  int8_t relation = kNone, number = kNone, side = kNone, visible = kNone;
  uint64_t set = 0;  // the objects that match

  int matches() const { return std::popcount(set); }
  bool filters() const {
    return value != std::array<int8_t, kAttributes>{kNone, kNone, kNone, kNone};
  }
};

// Every different combination of attribute values that describes some of `input`, the empty one
// first. `allowed` has a bit for each attribute that may be named.
void filters_within(const uint64_t* scene, uint64_t input, unsigned allowed,
                    std::vector<Candidate>& out);

// Adds `wanted` combinations that match none of `input`, all different; fewer where there are no
// more to be found soon.
void add_unmatched(const uint64_t* scene, uint64_t input, unsigned allowed, int wanted,
                   Random& random, std::vector<Candidate>& out);

struct RelateRule {
  bool unique = false;      // exactly one object must remain
  bool with_empty = false;  // none may remain
  double trivial = 0;       // share of options whose relation excludes nothing
};

// Every relation from `object` together with every filter of the whole scene.
void relations_from(const uint64_t* scene, int object, const std::vector<Candidate>& scene_filters,
                    unsigned allowed, const RelateRule& rule, Random& random,
                    std::vector<Candidate>& out);

// Gives candidates in random order, each once: all equally likely, or (CLEVR-Ref+) with the number
// of matching objects uniform first.
class Draw {
 public:
  Draw(std::vector<Candidate>& candidates, bool by_matches)
      : candidates_(candidates), by_matches_(by_matches) {
    if (by_matches_) group();
  }

  const Candidate* next(Random& random) {
    if (taken_ == candidates_.size()) return nullptr;
    size_t at = 0;
    if (by_matches_) {
      const size_t g = random.below(static_cast<uint32_t>(groups_.size()));
      std::vector<uint32_t>& group = groups_[g];
      const size_t k = random.below(static_cast<uint32_t>(group.size()));
      at = group[k];
      group[k] = group.back();
      group.pop_back();
      if (group.empty()) groups_.erase(groups_.begin() + static_cast<int64_t>(g));
    } else {
      at = taken_ + random.below(static_cast<uint32_t>(candidates_.size() - taken_));
      std::swap(candidates_[at], candidates_[taken_]);
      at = taken_;
    }
    ++taken_;
    return &candidates_[at];
  }

 private:
  std::vector<Candidate>& candidates_;
  const bool by_matches_;
  size_t taken_ = 0;
  std::vector<std::vector<uint32_t>> groups_;

  void group() {
    std::array<std::vector<uint32_t>, 65> by_size;
    for (size_t i = 0; i < candidates_.size(); ++i)
      by_size[static_cast<size_t>(candidates_[i].matches())].push_back(static_cast<uint32_t>(i));
    for (auto& one : by_size)
      if (!one.empty()) groups_.push_back(std::move(one));
  }
};

}  // namespace pyvqa::world
