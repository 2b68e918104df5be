add_library(pyvqa_warnings INTERFACE)
target_compile_options(pyvqa_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wno-sign-conversion>
  # Neither changes a result; both let loops be vectorised. Never -ffast-math: linking with it
  # switches the whole process to flush-to-zero.
  $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno -fno-trapping-math>)
