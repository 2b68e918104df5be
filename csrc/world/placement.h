// Random scenes by CLEVR's placement rules (clevr-dataset-gen image_generation/render_images.py).
#pragma once

#include <cstdint>
#include <vector>

namespace pyvqa::world {

// Which colours go with which shapes: all with all, or CoGenT's conditions A and B.
enum class Condition { any, a, b };

struct PlacementSettings {
  int least = 3, most = 10;  // objects in a scene
  Condition condition = Condition::any;
};

struct Placement {
  std::vector<int32_t> counts;      // [scenes]
  std::vector<double> jitter;       // [scenes, 3] shift of the camera, each in [-0.5, 0.5)
  std::vector<double> lamp_jitter;  // [scenes, 3, 3] shift of key, fill and back, in [-1, 1)
  std::vector<int64_t> grain;       // [scenes] seed of the picture's noise, not negative
  std::vector<uint16_t> codes;      // [objects, 4] string codes: color, material, shape, size
  std::vector<double> coordinates;  // [objects, 3] centre; single-precision values
  std::vector<double> rotation;     // [objects] 360 times a uniform draw; used as radians
};

// Adds the scene of image `index`. It depends on (seed, index, attempt, settings) alone: count,
// camera and lamps on (seed, index), so a scene whose objects turn out to be hidden is placed anew
// with the next attempt, as the original does.
void place_scene(uint64_t seed, uint64_t index, uint32_t attempt, const PlacementSettings& settings,
                 Placement& out);

}  // namespace pyvqa::world
