add_library(_ops MODULE
  csrc/ops.cpp
  csrc/boxes/boxes_cpu.cpp
  csrc/common/isa.cpp
  csrc/execute/execute_cpu.cpp
  csrc/masks/masks_cpu.cpp
  csrc/masks/match_cpu.cpp
  csrc/nms/nms_cpu.cpp
  csrc/pairwise/pairwise_cpu.cpp
  csrc/paste/paste_cpu.cpp
  csrc/render/render_cpu.cpp
  csrc/roi_align/roi_align_backward_cpu.cpp
  csrc/roi_align/roi_align_cpu.cpp
)
pyvqa_isa_sources(_ops
  csrc/boxes/codec_kernel.cpp
  csrc/boxes/iou_kernel.cpp
  csrc/execute/execute_kernel.cpp
  csrc/masks/masks_kernel.cpp
  csrc/nms/nms_kernel.cpp
  csrc/pairwise/pairwise_kernel.cpp
  csrc/paste/paste_kernel.cpp
  csrc/render/light_kernel.cpp
  csrc/render/render_kernel.cpp
  csrc/roi_align/roi_align_kernel.cpp
)
# The two halves of a set, joined in one vector register, would travel through memory at every instruction.
set_source_files_properties(csrc/execute/execute_kernel.cpp PROPERTIES COMPILE_OPTIONS -fno-tree-slp-vectorize)
# RoIAlign decides nothing in its sums, so they may be fused; where it samples is decided outside of them.
# The pairs' products may be fused too: which one is largest depends on their rounding in any case.
set_source_files_properties(csrc/pairwise/pairwise_kernel.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)
set_source_files_properties(csrc/roi_align/roi_align_kernel.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)
set_source_files_properties(csrc/roi_align/roi_align_cpu.cpp csrc/roi_align/roi_align_backward_cpu.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
target_include_directories(_ops PRIVATE csrc)
target_link_libraries(_ops PRIVATE stable_torch pyvqa_warnings)
set_target_properties(_ops PROPERTIES PREFIX "" SUFFIX ".so")
pyvqa_place(_ops)
