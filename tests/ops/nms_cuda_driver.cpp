// The CUDA kernels of the suppression on the host, without torch, against the plain definition:
//   nms_cuda_driver <seed> <most boxes>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "nms/nms_cuda.h"
#include "nms/nms.h"

namespace {

using namespace pyvqa;
using Random = std::mt19937_64;
using Indices = std::vector<int64_t>;

template <class T>
struct Case {
  std::vector<T> boxes, scores;
  Indices idxs;  // empty without groups
  Rule<T> rule;
  bool input_order;

  int64_t count() const { return static_cast<int64_t>(scores.size()); }
};

template <class T>
Case<T> draw(Random& random, int64_t count) {
  Case<T> drawn;
  const double span = std::uniform_real_distribution<>(10, 2000)(random);
  std::uniform_real_distribution<T> place(0, static_cast<T>(span)), size(0, 40);
  const bool grouped = random() % 2;
  for (int64_t i = 0; i < count; ++i) {
    const T x = place(random), y = place(random);
    for (const T number : {x, y, x + size(random), y + size(random)}) drawn.boxes.push_back(number);
    drawn.scores.push_back(static_cast<T>(random() % 50));
    if (grouped) drawn.idxs.push_back(static_cast<int64_t>(random() % 3) << 40);
  }
  const T threshold = static_cast<T>(0.25) * static_cast<T>(1 + random() % 3);
  const bool equal = random() % 2;
  drawn.rule = {threshold, equal ? threshold - T(1e-3) : threshold, T(random() % 2), equal};
  drawn.input_order = random() % 2;
  return drawn;
}

template <class Key>
Indices stable_order(const std::vector<Key>& keys) {
  Indices order(keys.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return keys[static_cast<size_t>(a)] < keys[static_cast<size_t>(b)];
  });
  return order;
}

// Exactly as large as needed, so that a sanitizer sees every step outside.
template <class T, class Key>
Indices by_kernels(const Case<T>& c) {
  std::vector<Key> keys(c.scores.size());
  launch_nms_keys(c.scores.data(), sizeof(T) == 8, c.count(), keys.data(), nullptr);
  const Indices order = stable_order(keys);
  Indices ranks, groups(c.idxs.size());
  if (!c.idxs.empty()) {
    launch_nms_gather(c.idxs.data(), order.data(), c.count(), groups.data(), nullptr);
    ranks = stable_order(groups);
    std::sort(groups.begin(), groups.end());
  }
  const bool wide = sizeof(T) == 8;
  std::vector<uint64_t> scratch(static_cast<size_t>(nms_scratch_bytes(c.count(), wide) / 8));
  Indices keep(c.scores.size());
  int64_t kept = -1;
  NmsDeviceJob job{};
  job.boxes = c.boxes.data();
  job.count = c.count();
  job.order = order.data();
  if (!c.idxs.empty()) {
    job.ranks = ranks.data();
    job.groups = groups.data();
  }
  job.wide = wide;
  job.rule = &c.rule;
  job.input_order = c.input_order;
  job.keep = keep.data();
  job.kept = &kept;
  job.scratch = scratch.data();
  if (launch_nms(job, nullptr) != cudaSuccess) return {};
  if (std::any_of(keep.begin() + kept, keep.end(), [](int64_t i) { return i != -1; })) return {};
  keep.resize(static_cast<size_t>(kept));
  return keep;
}

template <class T>
Indices by_definition(const Case<T>& c) {
  std::vector<T> descending;
  for (const T score : c.scores) descending.push_back(-score);
  Indices keep;
  const auto box_of = [&](int64_t i) { return read_box(c.boxes.data() + 4 * i, c.rule.plus); };
  for (const int64_t i : stable_order(descending)) {
    const bool stays = std::none_of(keep.begin(), keep.end(), [&](int64_t k) {
      const size_t first = static_cast<size_t>(k), second = static_cast<size_t>(i);
      return (c.idxs.empty() || c.idxs[first] == c.idxs[second]) &&
             suppresses(box_of(k), box_of(i), c.rule);
    });
    if (stays) keep.push_back(i);
  }
  if (c.input_order) std::sort(keep.begin(), keep.end());
  return keep;
}

template <class T, class Key>
bool check(Random& random, int64_t count) {
  const Case<T> drawn = draw<T>(random, count);
  const Indices found = by_kernels<T, Key>(drawn), expected = by_definition(drawn);
  const bool equal = found == expected;
  std::printf("%zu byte numbers, %lld boxes, %zu kept%s\n", sizeof(T),
              static_cast<long long>(count), expected.size(), equal ? "" : " DIFFERENT");
  return equal;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Random random(std::strtoull(argv[1], nullptr, 10));
  bool equal = true;
  for (const int64_t count : {1, 2, 31, 64, 65, 127, 700, std::atoi(argv[2])}) {
    equal &= check<float, int32_t>(random, count);
    equal &= check<double, int64_t>(random, count);
  }
  std::printf(equal ? "all equal\n" : "differences\n");
  return equal ? 0 : 1;
}
