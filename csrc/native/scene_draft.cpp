#include "native/scene_draft.h"

#include <cmath>

#include "native/json.h"

namespace pyvqa {
namespace {

[[noreturn]] void fail_at(const std::string& message, size_t offset) {
  throw json::JsonError(message, offset);
}

std::string object_name(size_t index) { return "object " + std::to_string(index); }

void add_object(const SceneDraft& scene, size_t index, SceneTable& table) {
  const ObjectDraft& object = scene.objects[index];
  for (int attribute = 0; attribute < kAttributes; ++attribute) {
    if (!object.has_code[attribute]) {
      fail_at(object_name(index) + " has no '" + kAttributeNames[attribute] + "'", object.offset);
    }
    table.codes.push_back(object.codes[attribute]);
  }
  Vector3 position = object.position;
  if (object.has_coords) {
    if (!scene.has_right || !scene.has_front) {
      fail_at("objects have 3d_coords, but the scene has no directions 'right' and 'front'",
              object.offset);
    }
    const auto along = [&](const Vector3& direction) {
      return object.coords[0] * direction[0] + object.coords[1] * direction[1] +
             object.coords[2] * direction[2];
    };
    position = {along(scene.right), along(scene.front), object.coords[2]};
  } else if (!object.has_position) {
    fail_at(object_name(index) + " has neither '3d_coords' nor 'position'", object.offset);
  }
  for (const double value : position) {
    if (!std::isfinite(value))
      fail_at(object_name(index) + " is not at a finite position", object.offset);
  }
  table.position.insert(table.position.end(), position.begin(), position.end());
  table.pixel.insert(table.pixel.end(), object.pixel.begin(), object.pixel.end());
}

// From lists per relation to lists per object; absent relations become empty lists.
void add_relations(const SceneDraft& scene, SceneTable& table) {
  const size_t count = scene.objects.size();
  if (scene.has_relations) {
    for (int r = 0; r < kRelations; ++r) {
      const RelationLists& lists = scene.relations[r];
      const std::string name = std::string("relationships '") + kRelationNames[r] + "'";
      if (!lists.present) fail_at(name + " are missing", scene.offset);
      if (lists.offsets.size() != count + 1) {
        fail_at(name + " have " + std::to_string(lists.offsets.size() - 1) + " lists for " +
                    std::to_string(count) + " objects",
                lists.offset);
      }
      for (const int32_t id : lists.items) {
        if (static_cast<size_t>(id) >= count) {
          fail_at(name + " name object " + std::to_string(id) + " of " + std::to_string(count),
                  lists.offset);
        }
      }
    }
  }
  for (size_t o = 0; o < count; ++o) {
    for (const RelationLists& lists : scene.relations) {
      table.relation_offsets.push_back(static_cast<int64_t>(table.relation_items.size()));
      if (!scene.has_relations) continue;
      table.relation_items.insert(table.relation_items.end(),
                                  lists.items.begin() + lists.offsets[o],
                                  lists.items.begin() + lists.offsets[o + 1]);
    }
  }
}

void add_visibility(const SceneDraft& scene, SceneTable& table) {
  const size_t count = scene.objects.size();
  const size_t first = table.visibility.size();
  table.visibility.resize(first + count, Visibility::unknown);
  table.scene_visibility.push_back(SceneVisibility::unknown);
  if (!scene.has_masks && !scene.has_boxes) return;
  if (!scene.has_masks || !scene.has_boxes) {
    fail_at("obj_mask and obj_bbox belong together, one is missing", scene.offset);
  }
  std::vector<masks::Span> spans;
  std::vector<int64_t> offsets{0};
  std::vector<double> depth;
  for (size_t o = 0; o < count; ++o) {
    const ObjectDraft& object = scene.objects[o];
    if (o >= scene.masks.size() || !scene.masks[o].present) {
      fail_at(object_name(o) + " has no mask in obj_mask", object.offset);
    }
    if (o >= scene.has_box.size() || !scene.has_box[o]) {
      fail_at(object_name(o) + " has no box in obj_bbox", object.offset);
    }
    if (!object.has_pixel) {
      fail_at(object_name(o) + " has a mask, but no 'pixel_coords'", object.offset);
    }
    spans.insert(spans.end(), scene.masks[o].spans.begin(), scene.masks[o].spans.end());
    offsets.push_back(static_cast<int64_t>(spans.size()));
    depth.push_back(object.pixel[2]);
  }
  table.scene_visibility.back() =
      masks::occlusion(spans.data(), offsets.data(), scene.boxes.data(), depth.data(),
                       static_cast<int64_t>(count), table.visibility.data() + first);
}

uint8_t fields_of(const SceneDraft& scene) {
  const size_t count = scene.objects.size();
  size_t with_pixel = 0;
  for (const ObjectDraft& object : scene.objects) with_pixel += object.has_pixel;
  if (with_pixel != 0 && with_pixel != count) {
    for (size_t o = 0; o < count; ++o) {
      if (!scene.objects[o].has_pixel) {
        fail_at(object_name(o) + " has no 'pixel_coords', others of its scene do",
                scene.objects[o].offset);
      }
    }
  }
  return static_cast<uint8_t>((with_pixel == count ? kHasPixel : 0) |
                              (scene.has_relations ? kHasRelations : 0) |
                              (scene.has_masks ? kHasMasks : 0));
}

}  // namespace

void append_scene(const SceneDraft& scene, SceneTable& table) {
  const size_t count = scene.objects.size();
  if (!scene.has_objects) fail_at("the scene has no 'objects'", scene.offset);
  if (count > INT32_MAX) fail_at("too many objects", scene.offset);
  table.counts.push_back(static_cast<int32_t>(count));
  table.image_index.push_back(scene.image_index);
  table.image_filename.push_back(scene.image_filename);
  for (size_t index = 0; index < count; ++index) add_object(scene, index, table);
  add_relations(scene, table);
  add_visibility(scene, table);
  table.fields.push_back(fields_of(scene));
}

void drop_absent_fields(SceneTable& table) {
  uint8_t present = 0;  // what any scene with objects has
  for (size_t s = 0; s < table.counts.size(); ++s) {
    if (table.counts[s] > 0) present |= table.fields[s];
  }
  if (!(present & kHasPixel)) table.pixel.clear();
  if (!(present & kHasMasks)) table.visibility.clear();
  if (present & kHasRelations) {
    table.relation_offsets.push_back(static_cast<int64_t>(table.relation_items.size()));
  } else {
    table.relation_offsets.clear();
  }
}

}  // namespace pyvqa
