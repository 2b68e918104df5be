#pragma once

#include <pybind11/pybind11.h>

namespace pyvqa {

// Run-length codecs and the occlusion test.
void bind_masks(pybind11::module_& m);

}  // namespace pyvqa
