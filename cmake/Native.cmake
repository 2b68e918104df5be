find_package(Python COMPONENTS Interpreter Development.Module REQUIRED)
find_package(pybind11 CONFIG REQUIRED)

# NO_EXTRAS: pybind11 would add link-time optimisation of its own.
pybind11_add_module(_native MODULE NO_EXTRAS
  csrc/coco_eval/coco_eval_module.cpp
  csrc/masks/masks_module.cpp
  csrc/masks/rle_module.cpp
  csrc/native/json.cpp
  csrc/native/module.cpp
  csrc/native/question_reader.cpp
  csrc/native/readers_module.cpp
  csrc/native/scene_draft.cpp
  csrc/native/scene_reader.cpp
  csrc/programs/programs_module.cpp
  csrc/world/candidates.cpp
  csrc/world/generator.cpp
  csrc/world/outcome.cpp
  csrc/world/placement.cpp
  csrc/world/search.cpp
  csrc/world/template.cpp
  csrc/world/wording.cpp
  csrc/world/world_module.cpp
)
# Positions are dot products in a fixed order: no fused multiply-adds where the processor has them.
# Overlaps and precisions are compared to the last bit, likewise.
set_source_files_properties(csrc/coco_eval/coco_eval_module.cpp csrc/native/scene_draft.cpp csrc/world/placement.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
target_include_directories(_native PRIVATE csrc)
target_compile_options(_native PRIVATE -O3)
target_link_libraries(_native PRIVATE pyvqa_warnings)
pyvqa_place(_native)
