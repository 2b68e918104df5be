set(PYVQA_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO (torch is a CUDA build and nvcc is there), ON, OFF")
set_property(CACHE PYVQA_CUDA PROPERTY STRINGS AUTO ON OFF)
set(PYVQA_CUDA_ARCHS "" CACHE STRING "CUDA architectures, e.g. 90-real; default: CUDAARCHS from the environment, else the release list")
set(PYVQA_SANITIZE "" CACHE STRING "Sanitizers for host code, e.g. address,undefined")
set(PYVQA_IN_PLACE OFF CACHE BOOL "Put the libraries into the source tree, for development without installing")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(PYVQA_CCACHE ccache)
if(PYVQA_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PYVQA_CCACHE})
endif()

if(PYVQA_SANITIZE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${PYVQA_SANITIZE}>
                      $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>
                      $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=${PYVQA_SANITIZE})
endif()

# Where a library ends up: beside the Python files in a wheel, or in the source tree.
function(pyvqa_place target)
  if(PYVQA_IN_PLACE)
    set_target_properties(${target} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_SOURCE_DIR}/pyvqa)
  endif()
  install(TARGETS ${target} LIBRARY DESTINATION pyvqa COMPONENT pyvqa)
endfunction()
