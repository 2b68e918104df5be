// _native: what is no tensor. Bound here part by part; no torch anywhere in it.
#include <pybind11/pybind11.h>

#include "coco_eval/coco_eval_module.h"
#include "native/readers_module.h"
#include "programs/programs_module.h"
#include "world/world_module.h"

PYBIND11_MODULE(_native, m) {
  m.doc() = "File readers, program compilation and scene packing of pyvqa; NumPy in, NumPy out.";
  pyvqa::bind_coco_eval(m);
  pyvqa::bind_readers(m);
  pyvqa::bind_programs(m);
  pyvqa::bind_world(m);
}
