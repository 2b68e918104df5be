// Scene files in every flavour, straight from JSON text into flat arrays.
#pragma once

#include <string_view>

#include "native/scene_table.h"

namespace pyvqa {

// Reads {"scenes": [...]} or the bare list: CLEVR's release and generator, CLEVR-Ref+ and parsed
// scenes (objects with a stored `position`). An object's position is (3d_coords . right,
// 3d_coords . front, 3d_coords[2]) in double precision, or the stored one where there are no
// 3d_coords. `masks` asks for the occlusion classes of scenes with obj_mask and obj_bbox.
// Throws json::JsonError whose message begins "scene N: " inside a scene.
// Sources: ns-vqa reason/utils/utils.py (load_scenes), clevr-refplus-dataset-gen refexp_engine.py.
SceneTable read_scenes(std::string_view text, bool masks);

}  // namespace pyvqa
