# The installed torch, through its stable ABI only: one include folder and two libraries.
# find_package(Torch) would demand a CUDA toolkit beside a CUDA torch and inject flags.
if(NOT PYVQA_TORCH_DIR)
  set(PYVQA_TORCH_DIR "$ENV{PYVQA_TORCH_DIR}")
endif()
if(NOT PYVQA_TORCH_DIR)
  find_package(Python COMPONENTS Interpreter REQUIRED)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import importlib.util as u, os; print(os.path.dirname(u.find_spec('torch').origin))"
    OUTPUT_VARIABLE PYVQA_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS ${PYVQA_TORCH_DIR}/include/torch/csrc/stable/library.h)
  message(FATAL_ERROR "pyvqa needs torch >= 2.10: install it first (pip install torch), or set PYVQA_TORCH_DIR to the torch package folder")
endif()

file(STRINGS ${PYVQA_TORCH_DIR}/include/torch/headeronly/version.h _version REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" StableTorch_VERSION "${_version}")
file(STRINGS ${PYVQA_TORCH_DIR}/version.py _cuda REGEX "^cuda")
string(REGEX MATCH "[0-9]+\\.[0-9]+" StableTorch_CUDA_VERSION "${_cuda}")
if(StableTorch_VERSION VERSION_LESS 2.10)
  message(FATAL_ERROR "pyvqa needs torch >= 2.10, found ${StableTorch_VERSION} in ${PYVQA_TORCH_DIR}")
endif()
message(STATUS "torch ${StableTorch_VERSION} (CUDA: ${StableTorch_CUDA_VERSION}) in ${PYVQA_TORCH_DIR}")

add_library(stable_torch INTERFACE)
target_include_directories(stable_torch SYSTEM INTERFACE ${PYVQA_TORCH_DIR}/include)
# 2.10 whatever is installed: newer entry points stay hidden, so the library loads in every later torch.
target_compile_definitions(stable_torch INTERFACE TORCH_TARGET_VERSION=0x020a000000000000ULL)
target_link_directories(stable_torch INTERFACE ${PYVQA_TORCH_DIR}/lib)
if(UNIX AND NOT APPLE)
  # torch loads its libraries with local visibility, so ours must name them even if a linker thinks otherwise.
  target_link_options(stable_torch INTERFACE -Wl,--no-as-needed)
  if(NOT PYVQA_SANITIZE)
    target_link_options(stable_torch INTERFACE -Wl,-z,defs)
  endif()
endif()
target_link_libraries(stable_torch INTERFACE torch torch_cpu)
