add_library(_ops MODULE
  csrc/ops.cpp
  csrc/common/isa.cpp
  csrc/execute/execute_cpu.cpp
  csrc/render/render_cpu.cpp)
pyvqa_isa_sources(_ops
  csrc/execute/execute_kernel.cpp
  csrc/render/render_kernel.cpp
  csrc/render/light_kernel.cpp)
# The two halves of a set, joined in one vector register, would travel through memory at every instruction.
set_source_files_properties(csrc/execute/execute_kernel.cpp PROPERTIES COMPILE_OPTIONS -fno-tree-slp-vectorize)
target_include_directories(_ops PRIVATE csrc)
target_link_libraries(_ops PRIVATE stable_torch pyvqa_warnings)
set_target_properties(_ops PROPERTIES PREFIX "" SUFFIX ".so")
pyvqa_place(_ops)
