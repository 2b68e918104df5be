// One scene of a file on its way into the table: its fields come in any order, so they are gathered
// here, and checked and joined once the scene is complete.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "masks/occlusion.h"
#include "native/scene_table.h"

namespace pyvqa {

inline constexpr const char* kAttributeNames[kAttributes] = {"color", "material", "shape", "size"};
inline constexpr const char* kRelationNames[kRelations] = {"left", "right", "behind", "front"};

using Vector3 = std::array<double, 3>;

struct ObjectDraft {
  size_t offset = 0;  // where it begins in the text
  std::array<uint16_t, kAttributes> codes{};
  std::array<bool, kAttributes> has_code{};
  bool has_coords = false, has_position = false, has_pixel = false;
  Vector3 coords{}, position{}, pixel{};
};

struct RelationLists {  // per object the ids related to it
  bool present = false;
  size_t offset = 0;
  std::vector<int64_t> offsets;
  std::vector<int32_t> items;
};

struct MaskDraft {
  bool present = false;
  std::vector<masks::Span> spans;
};

// One scene as the file gives it, fields in any order; checked and joined once it is complete.
struct SceneDraft {
  size_t offset = 0;
  int64_t image_index = 0;
  std::string image_filename;
  bool has_objects = false, has_right = false, has_front = false;
  bool has_relations = false, has_masks = false, has_boxes = false;
  Vector3 right{}, front{};
  std::vector<ObjectDraft> objects;
  std::array<RelationLists, kRelations> relations;
  std::vector<MaskDraft> masks;   // by object
  std::vector<masks::Box> boxes;  // by object
  std::vector<char> has_box;

  void clear(size_t at, int64_t position) {
    offset = at;
    image_index = position;
    image_filename.clear();
    has_objects = has_right = has_front = has_relations = has_masks = has_boxes = false;
    objects.clear();
  }
};

// Checks the complete scene and appends it; throws json::JsonError.
void append_scene(const SceneDraft& scene, SceneTable& table);

// After the last scene: fields that no scene has become empty arrays.
void drop_absent_fields(SceneTable& table);

}  // namespace pyvqa
