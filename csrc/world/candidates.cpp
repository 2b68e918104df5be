#include "world/candidates.h"

#include <bitset>
#include <cmath>

#include "execute/execute.h"

namespace pyvqa::world {
namespace {

constexpr int kTriesPerOption = 32;  // draws for one combination that matches nothing
constexpr int kSizes[kAttributes] = {8, 2, 3, 2};
using Seen = std::bitset<9 * 3 * 4 * 3>;

size_t key_of(const Candidate& c) {
  size_t key = 0;
  for (size_t a = 0; a < kAttributes; ++a)
    key = key * static_cast<size_t>(kSizes[a] + 1) + static_cast<size_t>(c.value[a] + 1);
  return key;
}

uint64_t matching(const Scene<1>& scene, const Candidate& c, uint64_t input) {
  for (size_t a = 0; a < kAttributes; ++a)
    if (c.value[a] >= 0) input &= *scene.value_mask(kFirstValue[a] + c.value[a]);
  return input;
}

// The object's own value, kNone for a string that CLEVR does not know.
int8_t value_in(const Scene<1>& scene, int object, int attribute) {
  const int code = scene.code(object, attribute);
  return is_value_of(code, attribute) ? static_cast<int8_t>(code - first_code(attribute)) : kNone;
}

}  // namespace

void filters_within(const uint64_t* words, uint64_t input, unsigned allowed,
                    std::vector<Candidate>& out) {
  const Scene<1> scene{words};
  Seen seen;
  for (unsigned present = 0; present < 1u << kAttributes; ++present) {
    if (present & ~allowed) continue;
    for (uint64_t left = input; left; left &= left - 1) {
      const int object = lowest_bit(left);
      Candidate c;
      bool known = true;
      for (int a = 0; a < kAttributes; ++a) {
        if (!(present >> a & 1)) continue;
        c.value[static_cast<size_t>(a)] = value_in(scene, object, a);
        known = known && c.value[static_cast<size_t>(a)] >= 0;
      }
      const size_t key = key_of(c);
      if (!known || seen[key]) continue;
      seen.set(key);
      c.set = matching(scene, c, input);
      out.push_back(c);
      if (present == 0) break;
    }
  }
}

void add_unmatched(const uint64_t* words, uint64_t input, unsigned allowed, int wanted,
                   Random& random, std::vector<Candidate>& out) {
  const Scene<1> scene{words};
  Seen seen;
  for (int found = 0, tries = wanted * kTriesPerOption; found < wanted && tries > 0; --tries) {
    Candidate c;
    for (size_t a = 0; a < kAttributes; ++a)
      if (allowed >> a & 1)
        c.value[a] = static_cast<int8_t>(
            static_cast<int>(random.below(static_cast<uint32_t>(kSizes[a] + 1))) - 1);
    const size_t key = key_of(c);
    if (!c.filters() || seen[key] || matching(scene, c, input)) continue;
    seen.set(key);
    out.push_back(c);
    ++found;
  }
}

void relations_from(const uint64_t* words, int object, const std::vector<Candidate>& scene_filters,
                    unsigned allowed, const RelateRule& rule, Random& random,
                    std::vector<Candidate>& out) {
  const Scene<1> scene{words};
  std::vector<Candidate> trivial;
  for (int8_t r = 0; r < kRelations; ++r) {
    const uint64_t related = *scene.related(r, object);
    for (const Candidate& filter : scene_filters) {
      bool usable = true;
      for (size_t a = 0; a < kAttributes; ++a)
        usable = usable && (filter.value[a] < 0 || (allowed >> a & 1));
      Candidate c = filter;
      c.relation = r;
      c.set &= related;
      const int n = c.matches();
      if (!usable || (rule.unique && n != 1) || (!rule.with_empty && n == 0)) continue;
      if (c.set != filter.set) out.push_back(c);
      else if (rule.trivial > 0) trivial.push_back(c);
    }
  }
  const auto share = static_cast<double>(out.size()) * rule.trivial / (1 - rule.trivial);
  const size_t added = std::min(trivial.size(), static_cast<size_t>(std::nearbyint(share)));
  for (size_t i = 0; i < added; ++i) {
    std::swap(trivial[i], trivial[i + random.below(static_cast<uint32_t>(trivial.size() - i))]);
    out.push_back(trivial[i]);
  }
}

}  // namespace pyvqa::world
