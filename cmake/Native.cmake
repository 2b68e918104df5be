find_package(Python COMPONENTS Interpreter Development.Module REQUIRED)
find_package(pybind11 CONFIG REQUIRED)

# NO_EXTRAS: pybind11 would add link-time optimisation of its own.
pybind11_add_module(_native MODULE NO_EXTRAS
  csrc/native/module.cpp
  csrc/programs/programs_module.cpp)
target_include_directories(_native PRIVATE csrc)
target_compile_options(_native PRIVATE -O3)
target_link_libraries(_native PRIVATE pyvqa_warnings)
pyvqa_place(_native)
