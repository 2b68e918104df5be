#include "native/scene_reader.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <unordered_map>

#include "native/json.h"
#include "native/scene_draft.h"

namespace pyvqa {
namespace {

using json::JsonError;
using json::Kind;

// A CLEVR-Ref+ mask's text does not say how wide the image is. The original's are 480 x 320 and
// 320 x 240: sides of 3 : 2 and 4 : 3, which no number of pixels has both.
constexpr int64_t kRatios[2][2] = {{3, 2}, {4, 3}};
constexpr int64_t kMostPixels = 1920 * 1280;  // four times the original's sides

// The width of an image of so many pixels, 0 for one of other sides.
int64_t mask_width(int64_t pixels) {
  for (const auto& [wide, high] : kRatios) {
    const auto unit = static_cast<int64_t>(
        std::llround(std::sqrt(static_cast<double>(pixels) / static_cast<double>(wide * high))));
    if (unit > 0 && unit * unit * wide * high == pixels) return unit * wide;
  }
  return 0;
}

class SceneReader {
 public:
  SceneReader(std::string_view text, bool masks) : in_(text), want_masks_(masks) {}
  SceneTable read();

 private:
  void read_file();
  void read_list();
  void read_scene();
  void read_field(std::string_view key);
  void read_objects();
  void read_object(ObjectDraft& object);
  void read_directions();
  void read_relations();
  void read_relation(RelationLists& lists);
  void read_masks();
  void read_boxes();
  void read_mask(MaskDraft& mask, int64_t& width);
  void read_vector(Vector3& out);
  size_t object_key(std::string_view key);
  uint16_t read_code();

  json::Parser in_;
  const bool want_masks_;
  int64_t position_ = -1;  // of the scene being read; -1 outside the list
  SceneDraft scene_;
  SceneTable table_;
  std::unordered_map<std::string, uint16_t> unknown_;  // codes of strings beyond the known ones
  masks::Runs runs_;
};

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
  in_.enter_array();
  while (in_.next_item()) {
    position_ = static_cast<int64_t>(table_.counts.size());
    read_scene();
    append_scene(scene_, table_);
  }
  position_ = -1;
  drop_absent_fields(table_);
}

void SceneReader::read_scene() {
  in_.kind();
  scene_.clear(in_.offset(), position_);
  in_.enter_object();
  std::string_view key;
  while (in_.next_key(key)) read_field(key);
}

void SceneReader::read_field(std::string_view key) {
  if (key == "objects") {
    read_objects();
  } else if (key == "relationships") {
    scene_.has_relations = !in_.null();
    if (scene_.has_relations) read_relations();
  } else if (key == "directions") {
    scene_.has_right = scene_.has_front = false;
    if (!in_.null()) read_directions();
  } else if (key == "image_index") {
    scene_.image_index = in_.integer();
    if (scene_.image_index < 0) in_.fail("image_index is negative");
  } else if (key == "image_filename") {
    scene_.image_filename = in_.string();
  } else if (want_masks_ && key == "obj_mask") {
    scene_.has_masks = !in_.null();
    if (scene_.has_masks) read_masks();
  } else if (want_masks_ && key == "obj_bbox") {
    scene_.has_boxes = !in_.null();
    if (scene_.has_boxes) read_boxes();
  } else {
    in_.skip();
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

void SceneReader::read_object(ObjectDraft& object) {
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

void SceneReader::read_vector(Vector3& out) {
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
  for (MaskDraft& mask : scene_.masks) mask.present = false;
  int64_t width = 0;
  std::string_view key;
  in_.enter_object();
  while (in_.next_key(key)) {
    const size_t index = object_key(key);
    if (index >= scene_.masks.size()) scene_.masks.resize(index + 1);
    read_mask(scene_.masks[index], width);
  }
}

void SceneReader::read_mask(MaskDraft& mask, int64_t& width) {
  const std::string_view text = in_.string();
  int64_t pixels = 0;
  try {
    pixels = masks::read_run_list(text, kMostPixels, runs_);
  } catch (const std::invalid_argument& error) { in_.fail(error.what()); }
  const int64_t own = mask_width(pixels);
  if (own == 0) {
    in_.fail("the run lengths of a mask sum to " + std::to_string(pixels) +
             ", which is no image with sides of 3 : 2 or 4 : 3");
  }
  if (width != 0 && own != width) in_.fail("the masks of a scene differ in size");
  width = own;
  mask.present = true;
  mask.spans.clear();
  masks::append_row_spans(runs_, width, mask.spans);
}

void SceneReader::read_boxes() {
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

}  // namespace

SceneTable read_scenes(std::string_view text, bool masks) {
  return SceneReader(text, masks).read();
}

}  // namespace pyvqa
