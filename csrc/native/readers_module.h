#pragma once

#include <pybind11/pybind11.h>

namespace pyvqa {

// read_scenes, scene_table, SceneTable, read_questions, QuestionTable and the mask functions.
void bind_readers(pybind11::module_& m);

}  // namespace pyvqa
