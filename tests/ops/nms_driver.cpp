// The suppression kernel without torch: against the plain definition on boxes that are hard on the
// grid, and how many pairs of boxes it compares.
//   nms_driver equal <seed> <rounds>
//   nms_driver comparisons <kind> <boxes>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "common/isa.h"
#include "nms/nms.h"
#include "nms/nms_kernel.h"

namespace {

using namespace pyvqa;
using Random = std::mt19937_64;

double uniform(Random& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}
double log_uniform(Random& random, double low, double high) {
  return std::exp(uniform(random, std::log(low), std::log(high)));
}

template <class T>
struct Answer {
  std::vector<uint8_t> stays;
  int64_t comparisons;
};

template <class T>
Answer<T> by_kernel(const std::vector<T>& boxes, const Rule<T>& rule, int64_t grid_from) {
  const int64_t count = static_cast<int64_t>(boxes.size()) / 4;
  std::vector<int32_t> order(static_cast<size_t>(count));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  const int32_t end = static_cast<int32_t>(count);
  std::vector<T> scratch(static_cast<size_t>(kNmsNumbersPerBox * count));
  Answer<T> answer{std::vector<uint8_t>(static_cast<size_t>(count)), 0};
  const NmsJob job{boxes.data(),   order.data(),       nullptr,   &end,
                   &rule,          sizeof(T) == 8,     grid_from, answer.stays.data(),
                   scratch.data(), &answer.comparisons};
  PV_ISA_NAME(nms_groups)(job, 0, 1);
  return answer;
}

template <class T>
std::vector<uint8_t> by_definition(const std::vector<T>& boxes, const Rule<T>& rule) {
  std::vector<Box<T>> kept;
  std::vector<uint8_t> stays;
  for (size_t i = 0; i < boxes.size(); i += 4) {
    const Box<T> box = read_box(boxes.data() + i, rule.plus);
    bool stay = true;
    for (const Box<T>& other : kept) {
      // Written out again, without the filter.
      const T width =
          std::max(T(0), (std::min(other.x2, box.x2) - std::max(other.x1, box.x1)) + rule.plus);
      const T height =
          std::max(T(0), (std::min(other.y2, box.y2) - std::max(other.y1, box.y1)) + rule.plus);
      const T both = width * height, overlap = both / (other.area + box.area - both);
      stay = !(rule.equal ? overlap >= rule.threshold : overlap > rule.threshold);
      if (!stay) break;
    }
    stays.push_back(stay);
    if (stay) kept.push_back(box);
  }
  return stays;
}

// What a round draws its boxes from.
struct Kind {
  double extent, offset, least, most, longest, grain, strange;

  explicit Kind(Random& random)
      : extent(log_uniform(random, 50, 5000)),
        offset(random() % 3 ? 0 : uniform(random, -1e7, 1e7)),
        least(log_uniform(random, 0.01, 20)),
        most(least * log_uniform(random, 1, 3000)),
        longest(random() % 2 ? 1 : log_uniform(random, 1, 2e4)),
        grain(random() % 3 ? 0 : 1),
        strange(random() % 3 ? 0 : 0.05) {
    if (random() % 8 == 0) {  // sizes beyond what the grid takes
      const double scale = random() % 2 ? 1e14 : 1e-9;
      extent *= scale, least *= scale, most *= scale;
      offset = grain = 0;
    }
  }
};

template <class T>
void strange_box(Random& random, T* box) {
  static const double values[] = {NAN, INFINITY, -INFINITY, 3e38, -3e38, 0.0, -0.0, 1e19, 1e-30};
  box[random() % 4] = static_cast<T>(values[random() % std::size(values)]);
}

// Pairs on the edge: the same box moved or cut so that the overlap is about the threshold.
template <class T>
void neighbour(Random& random, const T* from, T* to, double threshold) {
  const T width = from[2] - from[0], height = from[3] - from[1];
  std::memcpy(to, from, 4 * sizeof(T));
  const double shift = (1 - threshold) / (1 + threshold);
  switch (random() % 4) {
    case 0: to[0] += static_cast<T>(shift * width), to[2] += static_cast<T>(shift * width); break;
    case 1: to[1] += static_cast<T>(shift * height), to[3] += static_cast<T>(shift * height); break;
    case 2: to[2] = from[0] + static_cast<T>(threshold * width); break;
    default: to[3] = from[1] + static_cast<T>(height / threshold); break;
  }
  for (int c = 0; c < 4; ++c)
    if (random() % 4 == 0)
      to[c] = std::nextafter(to[c], static_cast<T>(random() % 2 ? INFINITY : -INFINITY));
}

template <class T>
std::vector<T> draw_boxes(Random& random, const Kind& kind, int64_t count, double threshold) {
  std::vector<T> boxes(static_cast<size_t>(4 * count));
  for (int64_t i = 0; i < count; ++i) {
    T* box = boxes.data() + 4 * i;
    if (i > 0 && random() % 3 == 0) {
      neighbour(random, boxes.data() + 4 * (random() % static_cast<uint64_t>(i)), box, threshold);
      continue;
    }
    const double aspect = std::sqrt(log_uniform(random, 1 / kind.longest, kind.longest));
    const double side = log_uniform(random, kind.least, kind.most);
    double x = kind.offset + uniform(random, 0, kind.extent);
    double y = kind.offset + uniform(random, 0, kind.extent);
    double width = side * aspect, height = side / aspect;
    if (kind.grain > 0) {
      x = std::round(x), y = std::round(y), width = std::round(width), height = std::round(height);
    }
    box[0] = static_cast<T>(x), box[1] = static_cast<T>(y);
    box[2] = static_cast<T>(x + width), box[3] = static_cast<T>(y + height);
    if (uniform(random, 0, 1) < kind.strange) strange_box(random, box);
  }
  return boxes;
}

template <class T>
Rule<T> draw_rule(Random& random) {
  static const double common[] = {0.3, 0.5, 0.7, 0.9};
  const double threshold =
      random() % 2 ? common[random() % 4] : uniform(random, 0.05, random() % 8 ? 1 : 1.1);
  const bool equal = random() % 2, inclusive = random() % 2;
  const T rounded = static_cast<T>(threshold);
  const T below = std::nextafter(rounded, -std::numeric_limits<T>::infinity());
  return {rounded, equal ? below : rounded, inclusive ? T(1) : T(0), equal};
}

template <class T>
bool round_is_equal(uint64_t seed) {
  Random random(seed);
  const Rule<T> rule = draw_rule<T>(random);
  const Kind kind(random);
  const int64_t count = random() % 4 ? 3200 + static_cast<int64_t>(random() % 2500)
                                     : static_cast<int64_t>(random() % 300);
  const std::vector<T> boxes = draw_boxes<T>(random, kind, count, rule.threshold);
  const Answer<T> found = by_kernel(boxes, rule, random() % 2 ? 8 : 1024);
  const std::vector<uint8_t> expected = by_definition(boxes, rule);
  int64_t kept = 0;
  for (const uint8_t stay : expected) kept += stay;
  const bool equal = found.stays == expected;
  std::printf("%s %lld boxes, %lld kept, %lld comparisons%s\n", sizeof(T) == 8 ? "double" : "float",
              static_cast<long long>(count), static_cast<long long>(kept),
              static_cast<long long>(found.comparisons), equal ? "" : " DIFFERENT");
  if (!equal) std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return equal;
}

int check_rounds(uint64_t seed, uint64_t rounds) {
  bool equal = true;
  for (uint64_t r = 0; r < rounds; ++r) {
    equal &= round_is_equal<float>(seed + 2 * r);
    equal &= round_is_equal<double>(seed + 2 * r + 1);
  }
  std::printf(equal ? "all equal\n" : "differences\n");
  return equal ? 0 : 1;
}

int count_comparisons(const char* kind, int64_t count) {
  Random random(1);
  const bool sizes = std::strcmp(kind, "sizes") == 0, grows = std::strcmp(kind, "grows") == 0;
  const double scale = grows ? std::sqrt(static_cast<double>(count) / 10000) : 1;
  std::vector<float> boxes;
  for (int64_t i = 0; i < count; ++i) {
    const double width = sizes ? log_uniform(random, 1, 1000) : log_uniform(random, 16, 256);
    const double height =
        sizes ? width * log_uniform(random, 0.5, 2) : log_uniform(random, 16, 256);
    const double x = uniform(random, 0, 1333 * scale), y = uniform(random, 0, 800 * scale);
    for (const double number : {x, y, x + width, y + height})
      boxes.push_back(static_cast<float>(number));
  }
  const Answer<float> answer = by_kernel(boxes, Rule<float>{0.5f, 0.5f, 0, false}, 1024);
  int64_t kept = 0;
  for (const uint8_t stay : answer.stays) kept += stay;
  std::printf("%lld %lld\n", static_cast<long long>(answer.comparisons),
              static_cast<long long>(kept));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "equal") == 0)
    return check_rounds(std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
  if (argc == 4 && std::strcmp(argv[1], "comparisons") == 0)
    return count_comparisons(argv[2], std::strtoll(argv[3], nullptr, 10));
  return 2;
}
