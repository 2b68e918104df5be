#include "world/placement.h"

#include <cmath>

#include "native/scene_table.h"
#include "world/random.h"

namespace pyvqa::world {
namespace {

constexpr int kTries = 50;          // positions tried for one object before the scene starts again
constexpr double kHalfSide = 3.0;   // centres lie in [-3, 3) squared
constexpr double kMinGap = 0.25;    // between the rims of two objects
constexpr double kMinOffset = 0.4;  // along each of the four directions
// "right" and "behind" of every released scene; the other two are their negatives.
constexpr double kRight[2] = {0.6563112735748291, 0.7544902563095093};
constexpr double kBehind[2] = {-0.754490315914154, 0.6563112735748291};

constexpr uint16_t kBlue = 2, kBrown = 3, kCyan = 4, kGray = 5, kGreen = 6, kPurple = 7, kRed = 8,
                   kYellow = 9;
constexpr uint16_t kFirstMaterial = 10, kCube = 12, kCylinder = 13, kLarge = 15;
constexpr uint16_t kColdColors[4] = {kGray, kBlue, kBrown, kYellow};
constexpr uint16_t kWarmColors[4] = {kRed, kGreen, kPurple, kCyan};

struct Object {
  std::array<uint16_t, kAttributes> codes;
  double x, y, radius, rotation;
};

bool too_close(double offset) {
  const double size = std::fabs(offset);
  return size > 0 && size < kMinOffset;
}

bool fits(const Object& candidate, const std::vector<Object>& placed) {
  for (const Object& other : placed) {
    const double dx = candidate.x - other.x, dy = candidate.y - other.y;
    const double distance = std::sqrt(dx * dx + dy * dy);
    if (distance - candidate.radius - other.radius < kMinGap) return false;
    if (too_close(dx * kRight[0] + dy * kRight[1])) return false;
    if (too_close(dx * kBehind[0] + dy * kBehind[1])) return false;
  }
  return true;
}

uint16_t draw_color(Random& random, uint16_t shape, Condition condition) {
  if (condition == Condition::any || (shape != kCube && shape != kCylinder))
    return static_cast<uint16_t>(kBlue + random.below(8));
  const bool cold = (shape == kCube) == (condition == Condition::a);
  return (cold ? kColdColors : kWarmColors)[random.below(4)];
}

// A coordinate as single precision keeps it: what the original's scene files hold.
double single(double value) { return static_cast<double>(static_cast<float>(value)); }

bool place_object(Random& random, Condition condition, std::vector<Object>& placed) {
  Object object{};
  const uint16_t size = static_cast<uint16_t>(kLarge + random.below(2));
  object.radius = size == kLarge ? 0.7 : 0.35;
  for (int tries = 0;; ++tries) {
    if (tries == kTries) return false;
    object.x = single((2 * random.uniform() - 1) * kHalfSide);
    object.y = single((2 * random.uniform() - 1) * kHalfSide);
    if (fits(object, placed)) break;
  }
  const uint16_t shape = static_cast<uint16_t>(kCube + random.below(3));
  const uint16_t material = static_cast<uint16_t>(kFirstMaterial + random.below(2));
  object.codes = {draw_color(random, shape, condition), material, shape, size};
  object.rotation = 360 * random.uniform();
  placed.push_back(object);
  return true;
}

}  // namespace

void place_scene(uint64_t seed, uint64_t index, uint32_t attempt, const PlacementSettings& settings,
                 Placement& out) {
  Random layout(seed, Stream::layout, index);
  const int count =
      settings.least +
      static_cast<int>(layout.below(static_cast<uint32_t>(settings.most - settings.least + 1)));
  for (int axis = 0; axis < 3; ++axis) out.jitter.push_back(layout.uniform() - 0.5);

  Random light(seed, Stream::light, index);
  for (int value = 0; value < 9; ++value) out.lamp_jitter.push_back(2 * light.uniform() - 1);
  const int64_t high = light.bits() >> 1;
  out.grain.push_back(high << 32 | light.bits());

  Random random(seed, Stream::objects, index, attempt);
  std::vector<Object> placed;
  while (static_cast<int>(placed.size()) < count)
    if (!place_object(random, settings.condition, placed)) placed.clear();

  out.counts.push_back(count);
  for (const Object& object : placed) {
    out.codes.insert(out.codes.end(), object.codes.begin(), object.codes.end());
    for (const double value : {object.x, object.y, single(object.radius)})
      out.coordinates.push_back(value);
    out.rotation.push_back(object.rotation);
  }
}

}  // namespace pyvqa::world
