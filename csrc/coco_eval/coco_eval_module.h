// coco_eval in _native.
#pragma once

#include <pybind11/pybind11.h>

namespace pyvqa {

void bind_coco_eval(pybind11::module_& m);

}  // namespace pyvqa
