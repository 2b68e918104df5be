# pyvqa_isa_sources(<target> <file>...): compile each kernel file once per CPU instruction set.
# The files hold raw-pointer functions in an anonymous namespace and export one table each
# (csrc/common/isa.h chooses at run time); never -march=native, so a wheel runs anywhere.
set(PYVQA_ISA_FLAGS_base "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(PYVQA_ISAS base avx2 avx512)
  set(PYVQA_ISA_FLAGS_base -march=x86-64-v2)
  set(PYVQA_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mpopcnt -mlzcnt)
  set(PYVQA_ISA_FLAGS_avx512 ${PYVQA_ISA_FLAGS_avx2}
      -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
else()
  set(PYVQA_ISAS base)
endif()

function(pyvqa_isa_sources target)
  foreach(isa IN LISTS PYVQA_ISAS)
    add_library(${target}_${isa} OBJECT ${ARGN})
    target_compile_definitions(${target}_${isa} PRIVATE PV_ISA=${isa} PV_ISA_${isa}=1)
    # Decisions must not depend on the instruction set: no contraction into fused multiply-adds.
    # Kernels throw nothing; without exceptions there is no weak symbol for their handling.
    target_compile_options(${target}_${isa} PRIVATE
      ${PYVQA_ISA_FLAGS_${isa}} -ffp-contract=off -fno-exceptions)
    target_include_directories(${target}_${isa} PRIVATE ${CMAKE_SOURCE_DIR}/csrc)
    target_link_libraries(${target}_${isa} PRIVATE pyvqa_warnings)
    target_link_libraries(${target} PRIVATE ${target}_${isa})
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
  endforeach()
endfunction()
