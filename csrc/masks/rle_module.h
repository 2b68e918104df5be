#pragma once

#include <pybind11/pybind11.h>

namespace pyvqa {

// Whole lists of run-length texts.
void bind_rle_lists(pybind11::module_& m);

}  // namespace pyvqa
