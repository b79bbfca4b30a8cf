# How everything is compiled. Build types and sanitizers come from CMakePresets.json.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

add_library(moebius_options INTERFACE)
target_compile_options(moebius_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wno-missing-field-initializers>)
# -fno-math-errno lets loops over sqrt and exp vectorise; results stay those of IEEE arithmetic.
target_compile_options(moebius_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno>)

set(MOEBIUS_ARCH "native" CACHE STRING "CPU to compile for: an -march value, or empty for the compiler's default")
if(MOEBIUS_ARCH)
  target_compile_options(moebius_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=${MOEBIUS_ARCH}>)
endif()

find_program(MOEBIUS_CCACHE ccache)
if(MOEBIUS_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${MOEBIUS_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${MOEBIUS_CCACHE})
endif()
