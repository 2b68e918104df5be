// The scene reader: a table that comes out is whole, and packs.
#include "fuzz.h"

#include <cmath>
#include <string>

#include "execute/pack.h"
#include "native/json.h"
#include "native/scene_reader.h"

namespace {

using pyvqa::SceneTable;
using pyvqa::fuzz::require;

void check_relations(const SceneTable& table, size_t objects) {
  if (table.relation_offsets.empty()) {
    require(table.relation_items.empty(), "no items without offsets");
    return;
  }
  require(table.relation_offsets.size() == 4 * objects + 1, "four lists for each object");
  require(table.relation_offsets.front() == 0, "offsets begin at 0");
  require(table.relation_offsets.back() == static_cast<int64_t>(table.relation_items.size()),
          "offsets end with the items");
  size_t slot = 0;
  for (const int32_t count : table.counts) {
    for (int64_t k = 0; k < 4 * int64_t{count}; ++k, ++slot) {
      require(table.relation_offsets[slot] <= table.relation_offsets[slot + 1], "offsets ascend");
      for (int64_t i = table.relation_offsets[slot]; i < table.relation_offsets[slot + 1]; ++i) {
        const int32_t id = table.relation_items[static_cast<size_t>(i)];
        require(id >= 0 && id < count, "related objects exist");
      }
    }
  }
}

void check(const SceneTable& table) {
  const size_t scenes = table.counts.size();
  size_t objects = 0;
  for (const int32_t count : table.counts) objects += static_cast<size_t>(count);
  require(table.fields.size() == scenes && table.image_index.size() == scenes &&
              table.image_filename.size() == scenes && table.scene_visibility.size() == scenes,
          "one entry per scene");
  require(table.codes.size() == 4 * objects && table.position.size() == 3 * objects,
          "entries for every object");
  require(table.pixel.empty() || table.pixel.size() == 3 * objects, "pixels for all or none");
  require(table.visibility.empty() || table.visibility.size() == objects,
          "classes for all or none");
  for (const uint16_t code : table.codes) {
    require(code < pyvqa::kKnownStrings + table.strings.size(), "codes name strings");
  }
  for (const double value : table.position) require(std::isfinite(value), "positions are finite");
  for (const int64_t index : table.image_index) require(index >= 0, "indices are not negative");
  check_relations(table, objects);
}

void pack(const SceneTable& table) {
  for (const auto source : {pyvqa::RelationSource::positions, pyvqa::RelationSource::stored}) {
    int64_t most = 0;
    for (const int32_t count : table.counts) most = count > most ? count : most;
    try {
      pyvqa::ScenePacker(table, pyvqa::words_per_set(most), source).pack();
    } catch (const std::invalid_argument&) {  // too many objects, no stored relations
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const bool masks : {false, true}) {
    try {
      const SceneTable table = pyvqa::read_scenes(text, masks);
      check(table);
      pack(table);
    } catch (const pyvqa::json::JsonError& error) {
      require(error.offset() <= text.size(), "errors lie inside the text");
    }
  }
  return 0;
}
