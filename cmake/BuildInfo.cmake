# pyvqa/_build_info.py: what `pyvqa info` reports about this build.
if(PYVQA_CUDA_REASON)
  set(_archs "")
else()
  string(REPLACE ";" " " _archs "${PYVQA_CUDA_ARCHS}")
endif()
set(_info ${CMAKE_CURRENT_BINARY_DIR}/_build_info.py)
if(PYVQA_IN_PLACE)
  set(_info ${CMAKE_SOURCE_DIR}/pyvqa/_build_info.py)
endif()
file(WRITE ${_info} "\"\"\"Written by the build.\"\"\"

TORCH = \"${StableTorch_VERSION}\"
COMPILER = \"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\"
CUDA_ARCHITECTURES = \"${_archs}\"
CUDA_MISSING = \"${PYVQA_CUDA_REASON}\"
")
install(FILES ${_info} DESTINATION pyvqa COMPONENT pyvqa)
