#pragma once

#include <pybind11/pybind11.h>

namespace pyvqa {

void bind_world(pybind11::module_& m);

}  // namespace pyvqa
