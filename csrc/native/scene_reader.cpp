#include "native/scene_reader.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <unordered_map>

#include "masks/occlusion.h"
#include "native/json.h"

namespace pyvqa {
namespace {

using json::JsonError;
using json::Kind;

constexpr const char* kAttributeNames[kAttributes] = {"color", "material", "shape", "size"};
constexpr const char* kRelationNames[kRelations] = {"left", "right", "behind", "front"};

// Sizes of the images that CLEVR-Ref+ masks belong to; a mask's text does not say which.
constexpr int64_t kLargePixels = 320 * 480, kLargeWidth = 480;
constexpr int64_t kSmallPixels = 240 * 320, kSmallWidth = 320;

using Vector = std::array<double, 3>;

struct Object {
  size_t offset = 0;  // where it begins in the text
  std::array<uint16_t, kAttributes> codes{};
  std::array<bool, kAttributes> has_code{};
  bool has_coords = false, has_position = false, has_pixel = false;
  Vector coords{}, position{}, pixel{};
};

struct RelationLists {  // per object the ids related to it
  bool present = false;
  size_t offset = 0;
  std::vector<int64_t> offsets;
  std::vector<int32_t> items;
};

struct Mask {
  bool present = false;
  std::vector<masks::Span> spans;
};

// One scene as the file gives it, fields in any order; checked and joined once it is complete.
struct Scene {
  size_t offset = 0;
  int64_t image_index = 0;
  std::string image_filename;
  bool has_objects = false, has_right = false, has_front = false;
  bool has_relations = false, has_masks = false, has_boxes = false;
  Vector right{}, front{};
  std::vector<Object> objects;
  std::array<RelationLists, kRelations> relations;
  std::vector<Mask> masks;        // by object
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

class SceneReader {
 public:
  SceneReader(std::string_view text, bool masks) : in_(text), want_masks_(masks) {}
  SceneTable read();

 private:
  void read_file();
  void read_list();
  void read_scene();
  void read_objects();
  void read_object(Object& object);
  void read_directions();
  void read_relations();
  void read_relation(RelationLists& lists);
  void read_masks();
  void read_boxes();
  void read_mask(Mask& mask, int64_t& width);
  void read_vector(Vector& out);
  size_t object_key(std::string_view key);
  uint16_t read_code();

  void add_scene();
  void add_object(size_t index);
  void add_relations();
  void add_visibility();
  uint8_t fields_of_scene();
  void trim();
  [[noreturn]] void fail_at(const std::string& message, size_t offset) const {
    throw JsonError(message, offset);
  }

  json::Parser in_;
  const bool want_masks_;
  int64_t position_ = -1;  // of the scene being read; -1 outside the list
  Scene scene_;
  SceneTable table_;
  std::unordered_map<std::string, uint16_t> unknown_;  // codes of strings beyond the known ones
  uint8_t all_fields_ = 0;                             // what any scene with objects has
  masks::Runs runs_;
};

std::string object_name(size_t index) { return "object " + std::to_string(index); }

int known_code(std::string_view text) {
  for (int code = 0; code < kKnownStrings; ++code) {
    const char* known = kStrings[code];
    if (known[0] == text[0] && text == known) return code;
  }
  return -1;
}

SceneTable SceneReader::read() {
  try {
    read_file();
  } catch (const JsonError& error) {
    if (position_ < 0) throw;
    throw JsonError("scene " + std::to_string(position_) + ": " + error.what(), error.offset());
  }
  return std::move(table_);
}

void SceneReader::read_file() {
  if (in_.kind() == Kind::array) {
    read_list();
    in_.finish();
    return;
  }
  bool found = false;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    if (key == "scenes") {
      read_list();
      found = true;
    } else {
      in_.skip();
    }
  }
  if (!found) in_.fail("the file has no 'scenes'");
  in_.finish();
}

void SceneReader::read_list() {
  table_ = SceneTable();  // of two lists under one key the last counts, as in Python
  unknown_.clear();
  all_fields_ = 0;
  in_.enter_array();
  while (in_.next_item()) {
    position_ = static_cast<int64_t>(table_.counts.size());
    read_scene();
    add_scene();
  }
  position_ = -1;
  trim();
}

void SceneReader::read_scene() {
  in_.kind();
  scene_.clear(in_.offset(), position_);
  in_.enter_object();
  std::string_view key;
  while (in_.next_key(key)) {
    if (key == "objects") {
      read_objects();
    } else if (key == "relationships" && !in_.null()) {
      read_relations();
    } else if (key == "directions" && !in_.null()) {
      read_directions();
    } else if (key == "image_index") {
      scene_.image_index = in_.integer();
      if (scene_.image_index < 0) in_.fail("image_index is negative");
    } else if (key == "image_filename") {
      scene_.image_filename = in_.string();
    } else if (want_masks_ && key == "obj_mask" && !in_.null()) {
      read_masks();
    } else if (want_masks_ && key == "obj_bbox" && !in_.null()) {
      read_boxes();
    } else {
      in_.skip();
    }
  }
}

void SceneReader::read_objects() {
  scene_.has_objects = true;
  scene_.objects.clear();
  in_.enter_array();
  while (in_.next_item()) {
    in_.kind();
    scene_.objects.emplace_back().offset = in_.offset();
    read_object(scene_.objects.back());
  }
}

void SceneReader::read_object(Object& object) {
  in_.enter_object();
  std::string_view key;
  while (in_.next_key(key)) {
    int attribute = 0;
    while (attribute < kAttributes && key != kAttributeNames[attribute]) ++attribute;
    if (attribute < kAttributes) {
      object.codes[attribute] = read_code();
      object.has_code[attribute] = true;
    } else if (key == "3d_coords") {
      read_vector(object.coords);
      object.has_coords = true;
    } else if (key == "position") {
      read_vector(object.position);
      object.has_position = true;
    } else if (key == "pixel_coords") {
      read_vector(object.pixel);
      object.has_pixel = true;
    } else {
      in_.skip();
    }
  }
}

uint16_t SceneReader::read_code() {
  const std::string_view text = in_.string();
  if (text.empty()) in_.fail("an attribute is an empty string");
  const int known = known_code(text);
  if (known >= 0) return static_cast<uint16_t>(known);
  std::string name(text);
  const auto found = unknown_.find(name);
  if (found != unknown_.end()) return found->second;
  const size_t code = kKnownStrings + table_.strings.size();
  if (code > UINT16_MAX) in_.fail("more than 65,000 different attribute strings");
  table_.strings.push_back(name);
  unknown_.emplace(std::move(name), static_cast<uint16_t>(code));
  return static_cast<uint16_t>(code);
}

void SceneReader::read_vector(Vector& out) {
  size_t size = 0;
  in_.enter_array();
  while (in_.next_item()) {
    if (size == out.size()) in_.fail("expected 3 numbers, found more");
    out[size++] = in_.number();
  }
  if (size < out.size()) in_.fail("expected 3 numbers, found " + std::to_string(size));
}

void SceneReader::read_directions() {
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    if (key == "right") {
      read_vector(scene_.right);
      scene_.has_right = true;
    } else if (key == "front") {
      read_vector(scene_.front);
      scene_.has_front = true;
    } else {
      in_.skip();
    }
  }
}

void SceneReader::read_relations() {
  for (RelationLists& lists : scene_.relations) lists.present = false;
  scene_.has_relations = true;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    int relation = 0;
    while (relation < kRelations && key != kRelationNames[relation]) ++relation;
    if (relation < kRelations) {
      read_relation(scene_.relations[relation]);
    } else {
      in_.skip();
    }
  }
}

void SceneReader::read_relation(RelationLists& lists) {
  lists.present = true;
  lists.items.clear();
  lists.offsets.assign(1, 0);
  in_.enter_array();
  lists.offset = in_.offset();
  while (in_.next_item()) {
    in_.enter_array();
    while (in_.next_item()) {
      const int64_t id = in_.integer();
      if (id < 0 || id > INT32_MAX) in_.fail("a related object is out of range");
      lists.items.push_back(static_cast<int32_t>(id));
    }
    lists.offsets.push_back(static_cast<int64_t>(lists.items.size()));
  }
}

// Masks and boxes are keyed "1", "2", ...; returns the object's index.
size_t SceneReader::object_key(std::string_view key) {
  // A scene has fewer objects than this; it keeps a hostile key from reserving memory.
  constexpr size_t kMost = 1 << 16;
  size_t number = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
  if (error != std::errc() || end != key.data() + key.size() || number == 0 || number > kMost) {
    std::string message = "not the number of an object: ";
    in_.fail(message.append(key.substr(0, 40)));
  }
  return number - 1;
}

void SceneReader::read_masks() {
  scene_.has_masks = true;
  for (Mask& mask : scene_.masks) mask.present = false;
  int64_t width = 0;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    const size_t index = object_key(key);
    if (index >= scene_.masks.size()) scene_.masks.resize(index + 1);
    read_mask(scene_.masks[index], width);
  }
}

void SceneReader::read_mask(Mask& mask, int64_t& width) {
  const std::string_view text = in_.string();
  int64_t pixels = 0;
  try {
    pixels = masks::read_run_list(text, kLargePixels, runs_);
  } catch (const std::invalid_argument& error) {
    in_.fail(error.what());
  }
  if (pixels != kLargePixels && pixels != kSmallPixels) {
    in_.fail("the run lengths of a mask sum to " + std::to_string(pixels) +
             ", neither 320 x 480 nor 240 x 320 pixels");
  }
  const int64_t own = pixels == kLargePixels ? kLargeWidth : kSmallWidth;
  if (width != 0 && own != width) in_.fail("the masks of a scene differ in size");
  width = own;
  mask.present = true;
  mask.spans.clear();
  masks::append_row_spans(runs_, width, mask.spans);
}

void SceneReader::read_boxes() {
  scene_.has_boxes = true;
  scene_.has_box.assign(scene_.has_box.size(), 0);
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    const size_t index = object_key(key);
    if (index >= scene_.boxes.size()) {
      scene_.boxes.resize(index + 1);
      scene_.has_box.resize(index + 1, 0);
    }
    masks::Box& box = scene_.boxes[index];
    int64_t* const values[4] = {&box.x, &box.y, &box.width, &box.height};
    size_t size = 0;
    in_.enter_array();
    while (in_.next_item()) {
      if (size == 4) in_.fail("a box has more than 4 numbers");
      const int64_t value = in_.integer();
      if (value < -INT32_MAX || value > INT32_MAX) in_.fail("a box is beyond 32 bits");
      *values[size++] = value;
    }
    if (size < 4) in_.fail("a box has fewer than 4 numbers");
    scene_.has_box[index] = 1;
  }
}

// Appends the complete scene to the table.
void SceneReader::add_scene() {
  const size_t count = scene_.objects.size();
  if (!scene_.has_objects) fail_at("the scene has no 'objects'", scene_.offset);
  if (count > INT32_MAX) fail_at("too many objects", scene_.offset);
  table_.counts.push_back(static_cast<int32_t>(count));
  table_.image_index.push_back(scene_.image_index);
  table_.image_filename.push_back(scene_.image_filename);
  for (size_t index = 0; index < count; ++index) add_object(index);
  add_relations();
  add_visibility();
  table_.fields.push_back(fields_of_scene());
  if (count > 0) all_fields_ |= table_.fields.back();
}

void SceneReader::add_object(size_t index) {
  const Object& object = scene_.objects[index];
  for (int attribute = 0; attribute < kAttributes; ++attribute) {
    if (!object.has_code[attribute]) {
      fail_at(object_name(index) + " has no '" + kAttributeNames[attribute] + "'", object.offset);
    }
    table_.codes.push_back(object.codes[attribute]);
  }
  Vector position = object.position;
  if (object.has_coords) {
    if (!scene_.has_right || !scene_.has_front) {
      fail_at("objects have 3d_coords, but the scene has no directions 'right' and 'front'",
              object.offset);
    }
    const auto along = [&](const Vector& direction) {
      return object.coords[0] * direction[0] + object.coords[1] * direction[1] +
             object.coords[2] * direction[2];
    };
    position = {along(scene_.right), along(scene_.front), object.coords[2]};
  } else if (!object.has_position) {
    fail_at(object_name(index) + " has neither '3d_coords' nor 'position'", object.offset);
  }
  for (const double value : position) {
    if (!std::isfinite(value)) fail_at(object_name(index) + " is not at a finite position", object.offset);
  }
  table_.position.insert(table_.position.end(), position.begin(), position.end());
  table_.pixel.insert(table_.pixel.end(), object.pixel.begin(), object.pixel.end());
}

// From lists per relation to lists per object; absent relations become empty lists.
void SceneReader::add_relations() {
  const size_t count = scene_.objects.size();
  if (scene_.has_relations) {
    for (int r = 0; r < kRelations; ++r) {
      const RelationLists& lists = scene_.relations[r];
      const std::string name = std::string("relationships '") + kRelationNames[r] + "'";
      if (!lists.present) fail_at(name + " are missing", scene_.offset);
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
    for (const RelationLists& lists : scene_.relations) {
      table_.relation_offsets.push_back(static_cast<int64_t>(table_.relation_items.size()));
      if (!scene_.has_relations) continue;
      table_.relation_items.insert(table_.relation_items.end(),
                                   lists.items.begin() + lists.offsets[o],
                                   lists.items.begin() + lists.offsets[o + 1]);
    }
  }
}

void SceneReader::add_visibility() {
  const size_t count = scene_.objects.size();
  const size_t first = table_.visibility.size();
  table_.visibility.resize(first + count, Visibility::unknown);
  table_.scene_visibility.push_back(SceneVisibility::unknown);
  if (!scene_.has_masks && !scene_.has_boxes) return;
  if (!scene_.has_masks || !scene_.has_boxes) {
    fail_at("obj_mask and obj_bbox belong together, one is missing", scene_.offset);
  }
  std::vector<masks::Span> spans;
  std::vector<int64_t> offsets{0};
  std::vector<double> depth;
  for (size_t o = 0; o < count; ++o) {
    const Object& object = scene_.objects[o];
    if (o >= scene_.masks.size() || !scene_.masks[o].present) {
      fail_at(object_name(o) + " has no mask in obj_mask", object.offset);
    }
    if (o >= scene_.has_box.size() || !scene_.has_box[o]) {
      fail_at(object_name(o) + " has no box in obj_bbox", object.offset);
    }
    if (!object.has_pixel) {
      fail_at(object_name(o) + " has a mask, but no 'pixel_coords'", object.offset);
    }
    spans.insert(spans.end(), scene_.masks[o].spans.begin(), scene_.masks[o].spans.end());
    offsets.push_back(static_cast<int64_t>(spans.size()));
    depth.push_back(object.pixel[2]);
  }
  table_.scene_visibility.back() =
      masks::occlusion(spans.data(), offsets.data(), scene_.boxes.data(), depth.data(),
                       static_cast<int64_t>(count), table_.visibility.data() + first);
}

uint8_t SceneReader::fields_of_scene() {
  const size_t count = scene_.objects.size();
  size_t with_pixel = 0;
  for (const Object& object : scene_.objects) with_pixel += object.has_pixel;
  if (with_pixel != 0 && with_pixel != count) {
    for (size_t o = 0; o < count; ++o) {
      if (!scene_.objects[o].has_pixel) {
        fail_at(object_name(o) + " has no 'pixel_coords', others of its scene do",
                scene_.objects[o].offset);
      }
    }
  }
  return static_cast<uint8_t>((with_pixel == count ? kHasPixel : 0) |
                              (scene_.has_relations ? kHasRelations : 0) |
                              (scene_.has_masks ? kHasMasks : 0));
}

// Fields that no scene has are empty arrays.
void SceneReader::trim() {
  if (!(all_fields_ & kHasPixel)) table_.pixel.clear();
  if (!(all_fields_ & kHasMasks)) table_.visibility.clear();
  if (all_fields_ & kHasRelations) {
    table_.relation_offsets.push_back(static_cast<int64_t>(table_.relation_items.size()));
  } else {
    table_.relation_offsets.clear();
  }
}

}  // namespace

SceneTable read_scenes(std::string_view text, bool masks) {
  return SceneReader(text, masks).read();
}

}  // namespace pyvqa
