// Scenes as the interpreter reads them: attribute masks, relation rows and orders in 64-bit words
// (layout in bytecode.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "execute/bytecode.h"
#include "native/scene_table.h"

namespace pyvqa {

struct PackedScenes {
  std::vector<int64_t> words;
  std::vector<int64_t> offsets;
};

// 64-bit words per object set for scenes of up to `objects` objects: one or two on the fast path.
inline int words_per_set(int64_t objects) {
  for (const int width : {1, 2, 16, 64})
    if (objects <= 64 * width) return width;
  throw std::invalid_argument("a scene has " + std::to_string(objects) +
                              " objects; at most 4096 are supported");
}

enum class RelationSource { positions, stored };

class ScenePacker {
 public:
  ScenePacker(const SceneTable& table, int width, RelationSource source)
      : table_(table), width_(width), source_(source) {}

  PackedScenes pack() {
    PackedScenes out;
    const size_t scenes = table_.counts.size();
    out.offsets.resize(scenes + 1);
    for (size_t s = 0; s < scenes; ++s) out.offsets[s + 1] = out.offsets[s] + size_of(s);
    out.words.assign(static_cast<size_t>(out.offsets[scenes]), 0);
    int64_t object = 0;
    for (size_t s = 0; s < scenes; ++s) {
      pack_scene(s, object, reinterpret_cast<uint64_t*>(out.words.data()) + out.offsets[s]);
      object += table_.counts[s];
    }
    return out;
  }

 private:
  const SceneTable& table_;
  const int width_;
  const RelationSource source_;

  bool has_pixel_data(size_t s) const {
    return (table_.fields[s] & kHasPixel) != 0 && !table_.pixel.empty();
  }
  bool has_visibility_data(size_t s) const {
    return !table_.visibility.empty() && table_.scene_visibility[s] != SceneVisibility::unknown;
  }

  int64_t size_of(size_t s) const {
    const int64_t n = table_.counts[s], w = width_;
    return 1 + kValues * w + n + 4 * n * w + (has_visibility_data(s) ? 2 * w : 0) +
           (has_pixel_data(s) ? (n + 1) / 2 : 0);
  }

  static void add(uint64_t* set, int64_t object) {
    set[object >> 6] |= uint64_t{1} << (object & 63);
  }

  void pack_scene(size_t s, int64_t first, uint64_t* words) const {
    const int64_t n = table_.counts[s];
    uint32_t flags = has_pixel_data(s) ? uint32_t{has_pixels} : 0;
    if (has_visibility_data(s)) {
      flags |= has_visibility;
      if (table_.scene_visibility[s] == SceneVisibility::invalid) flags |= visibility_invalid;
    }
    words[0] = static_cast<uint64_t>(n) | static_cast<uint64_t>(flags) << 32;
    uint64_t* masks = words + 1;
    uint64_t* codes = masks + kValues * width_;
    uint64_t* relations = codes + n;
    pack_attributes(first, n, masks, codes);
    if (source_ == RelationSource::positions) relate_by_position(first, n, relations);
    else if (n > 0) relate_as_stored(s, first, n, relations);
    uint64_t* rest = relations + 4 * n * width_;
    if (has_visibility_data(s)) {
      for (int64_t o = 0; o < n; ++o) {
        const Visibility v = table_.visibility[first + o];
        if (v == Visibility::fully) add(rest, o);
        if (v == Visibility::partially) add(rest + width_, o);
      }
      rest += 2 * width_;
    }
    if (has_pixel_data(s)) pack_orders(first, n, rest);
  }

  void pack_attributes(int64_t first, int64_t n, uint64_t* masks, uint64_t* codes) const {
    static constexpr int kFirst[] = {2, 10, 12, 15, kKnownStrings};  // first code of each attribute
    for (int64_t o = 0; o < n; ++o) {
      for (int a = 0; a < kAttributes; ++a) {
        const uint16_t code = table_.codes[4 * (first + o) + a];
        codes[o] |= static_cast<uint64_t>(code) << (16 * a);
        const bool own = code >= kFirst[a] && code < kFirst[a + 1];
        if (own) add(masks + (code - kFirstValueCode) * width_, o);
      }
    }
  }

  // Strict comparison in float64, no margin: an object is never related to one at the same
  // coordinate (ns-vqa reason/executors/clevr_executor.py).
  void relate_by_position(int64_t first, int64_t n, uint64_t* relations) const {
    const double* p = table_.position.data() + 3 * first;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        if (p[3 * j] < p[3 * i]) add(relations + (0 * n + i) * width_, j);
        if (p[3 * j] > p[3 * i]) add(relations + (1 * n + i) * width_, j);
        if (p[3 * j + 1] < p[3 * i + 1]) add(relations + (2 * n + i) * width_, j);
        if (p[3 * j + 1] > p[3 * i + 1]) add(relations + (3 * n + i) * width_, j);
      }
    }
  }

  void relate_as_stored(size_t s, int64_t first, int64_t n, uint64_t* relations) const {
    if ((table_.fields[s] & kHasRelations) == 0)
      throw std::invalid_argument("scene " + std::to_string(s) +
                                  " stores no relationships, which CLEVR-Ref+ programs need");
    for (int64_t o = 0; o < n; ++o) {
      for (int r = 0; r < kRelations; ++r) {
        const size_t slot = static_cast<size_t>(4 * (first + o) + r);
        for (int64_t k = table_.relation_offsets[slot]; k < table_.relation_offsets[slot + 1]; ++k)
          add(relations + (r * n + o) * width_, table_.relation_items[k]);
      }
    }
  }

  // Stable orders by pixel x and by depth, as filter_ordinal sorts (refexp_engine.py).
  void pack_orders(int64_t first, int64_t n, uint64_t* order) const {
    std::vector<int> ids(static_cast<size_t>(n));
    for (const int by_depth : {0, 1}) {
      for (int64_t o = 0; o < n; ++o) ids[static_cast<size_t>(o)] = static_cast<int>(o);
      const double* key = table_.pixel.data() + 3 * first + (by_depth ? 2 : 0);
      std::stable_sort(ids.begin(), ids.end(),
                       [key](int a, int b) { return key[3 * a] < key[3 * b]; });
      for (int64_t p = 0; p < n; ++p)
        order[p >> 1] |= static_cast<uint64_t>(ids[static_cast<size_t>(p)])
                         << (32 * (p & 1) + 16 * by_depth);
    }
  }
};

}  // namespace pyvqa
