# CUDA kernels are built when torch is a CUDA build and a CUDA compiler is found (AUTO), or on demand (ON):
# the launchers include no torch header, so they compile, link and load beside a CPU-only torch too.
set(PYVQA_CUDA_REASON "")
if(PYVQA_CUDA STREQUAL "OFF")
  set(PYVQA_CUDA_REASON "switched off at build time (PYVQA_CUDA=OFF)")
elseif(PYVQA_CUDA STREQUAL "AUTO" AND NOT StableTorch_CUDA_VERSION)
  set(PYVQA_CUDA_REASON "the torch it was built beside is a CPU build")
else()
  if(NOT PYVQA_CUDA_ARCHS)
    if(DEFINED ENV{CUDAARCHS})
      set(PYVQA_CUDA_ARCHS "$ENV{CUDAARCHS}")
    else()
      set(PYVQA_CUDA_ARCHS "75-real;80-real;86-real;89-real;90-real;100-real;120")
    endif()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${PYVQA_CUDA_ARCHS})
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(PYVQA_CUDA_REASON "no CUDA compiler (nvcc) was found")
    if(PYVQA_CUDA STREQUAL "ON")
      message(FATAL_ERROR "PYVQA_CUDA=ON, but ${PYVQA_CUDA_REASON}")
    endif()
  endif()
endif()
if(PYVQA_CUDA_REASON)
  message(STATUS "CUDA kernels: not built, ${PYVQA_CUDA_REASON}")
  return()
endif()

set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
if(StableTorch_CUDA_VERSION)
  string(REGEX MATCH "^[0-9]+" _torch_major "${StableTorch_CUDA_VERSION}")
  string(REGEX MATCH "^[0-9]+" _nvcc_major "${CMAKE_CUDA_COMPILER_VERSION}")
  if(NOT _torch_major STREQUAL _nvcc_major)
    message(FATAL_ERROR "torch was built with CUDA ${StableTorch_CUDA_VERSION}, but nvcc is ${CMAKE_CUDA_COMPILER_VERSION}: "
                        "install a CUDA ${_torch_major} toolkit, or build without the kernels (-C cmake.define.PYVQA_CUDA=OFF)")
  endif()
endif()
find_package(CUDAToolkit REQUIRED)

add_library(_ops_cuda MODULE
  csrc/boxes/boxes_cuda.cpp
  csrc/boxes/boxes_cuda.cu
  csrc/execute/execute_cuda.cpp
  csrc/execute/execute_cuda.cu
  csrc/masks/masks_cuda.cpp
  csrc/masks/masks_cuda.cu
  csrc/masks/match_cuda.cu
  csrc/masks/runs_cuda.cu
  csrc/nms/nms_cuda.cpp
  csrc/nms/nms_cuda.cu
  csrc/pairwise/pairwise_backward_cuda.cu
  csrc/pairwise/pairwise_cuda.cpp
  csrc/pairwise/pairwise_cuda.cu
  csrc/pairwise/pairwise_tiles_cuda.cu
  csrc/paste/paste_cuda.cpp
  csrc/paste/paste_cuda.cu
  csrc/render/render_cuda.cpp
  csrc/render/render_cuda.cu
  csrc/roi_align/roi_align_backward_cuda.cu
  csrc/roi_align/roi_align_cuda.cpp
  csrc/roi_align/roi_align_cuda.cu
)
# Ids and colours have the bits of the CPU's: no fused multiply-adds.
set_source_files_properties(csrc/render/render_cuda.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
target_include_directories(_ops_cuda PRIVATE csrc ${CUDAToolkit_INCLUDE_DIRS})
target_compile_options(_ops_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xfatbin=-compress-all --threads=2>)
target_link_libraries(_ops_cuda PRIVATE stable_torch pyvqa_warnings CUDA::cudart_static)
target_link_options(_ops_cuda PRIVATE -Wl,--exclude-libs,ALL)
set_target_properties(_ops_cuda PROPERTIES PREFIX "" SUFFIX ".so" LINKER_LANGUAGE CXX)
pyvqa_place(_ops_cuda)
