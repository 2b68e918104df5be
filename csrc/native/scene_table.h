// Scenes of a file as flat arrays: what the readers fill and what packing (execute/pack.h) reads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pyvqa {

// Codes of the strings that every scene table knows, in this order: "no", "yes", then the attribute
// values of CLEVR. Strings outside the list get codes from kKnownStrings on, in order of
// appearance.
inline constexpr int kKnownStrings = 17;
inline constexpr const char* kStrings[kKnownStrings] = {
    "no",    "yes",                                                             // truth values
    "blue",  "brown",    "cyan",   "gray", "green", "purple", "red", "yellow",  // color 2..9
    "metal", "rubber",                                                          // material 10..11
    "cube",  "cylinder", "sphere",                                              // shape 12..14
    "large", "small"};                                                          // size 15..16

inline constexpr int kAttributes = 4;  // color, material, shape, size: the order everywhere
inline constexpr int kRelations = 4;   // left, right, behind, front: the order everywhere

enum class Visibility : uint8_t { unknown = 0, fully = 1, partially = 2 };

// How filter_visible treats a scene as a whole (refexp_engine.py): unknown without masks, invalid
// when an overlap is too small to call or one of the classes is empty.
enum class SceneVisibility : uint8_t { unknown = 0, usable = 1, invalid = 2 };

// What a scene of a file came with: bits of SceneTable::fields.
enum SceneField : uint8_t { kHasPixel = 1, kHasRelations = 2, kHasMasks = 4 };

struct SceneTable {
  // one entry per scene
  std::vector<int32_t> counts;  // objects in the scene
  std::vector<uint8_t> fields;  // SceneField bits; a missing field's entries are 0
  std::vector<int64_t> image_index;
  std::vector<std::string> image_filename;
  std::vector<SceneVisibility> scene_visibility;
  // one entry (or a fixed number) per object, scenes one after the other
  std::vector<uint16_t> codes;         // [objects, 4] string codes in attribute order
  std::vector<double> position;        // [objects, 3] along right, along front, height
  std::vector<double> pixel;           // [objects, 3] x, y, depth; empty if no scene has them
  std::vector<Visibility> visibility;  // [objects]; empty if no scene has masks
  // stored relations: for object o and relation r the ids items[offsets[4*o+r] .. offsets[4*o+r+1])
  std::vector<int64_t> relation_offsets;  // [4 * objects + 1]; empty if the file has none
  std::vector<int32_t> relation_items;
  // strings beyond the known ones, code = kKnownStrings + position
  std::vector<std::string> strings;
};

}  // namespace pyvqa
