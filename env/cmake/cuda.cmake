# Device twins, where a CUDA toolkit is found. MOEBIUS_HAS_CUDA tells the rest; without it nothing of NVIDIA's is
# needed, and no file named *.cu, nor any in a folder called device/, is compiled.
set(MOEBIUS_CUDA "AUTO" CACHE STRING "device twins: ON, OFF, or AUTO: where the CUDA toolkit and its libraries are found")
set(MOEBIUS_HAS_CUDA OFF)

if(NOT MOEBIUS_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  find_package(CUDAToolkit QUIET)
  find_path(CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR})
  find_path(NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR})
  find_path(CUDNN_FRONTEND_INCLUDE cudnn_frontend.h HINTS ${PROJECT_SOURCE_DIR}/build/third_party/include)
  set(missing "")
  foreach(part CMAKE_CUDA_COMPILER CUDAToolkit_FOUND CUDNN_INCLUDE CUDNN_LIBRARY NCCL_INCLUDE NCCL_LIBRARY
          CUDNN_FRONTEND_INCLUDE)
    if(NOT ${part})
      list(APPEND missing ${part})
    endif()
  endforeach()
  if(NOT missing)
    set(MOEBIUS_HAS_CUDA ON)
  elseif(MOEBIUS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MOEBIUS_CUDA=ON, but not found: ${missing} (env/setup.sh cuda fetches cudnn-frontend)")
  else()
    message(STATUS "Built without device twins; not found: ${missing} (env/setup.sh cuda fetches cudnn-frontend)")
  endif()
endif()

if(MOEBIUS_HAS_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES 90a)  # wgmma and setmaxnreg are in 90a alone
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} --expt-relaxed-constexpr")
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  add_library(cuda_runtime ALIAS CUDA::cudart_static)
  add_library(cuda_libraries INTERFACE)  # of kernels/
  target_include_directories(cuda_libraries SYSTEM INTERFACE ${CUDNN_INCLUDE} ${CUDNN_FRONTEND_INCLUDE})
  target_link_libraries(cuda_libraries INTERFACE CUDA::cublasLt ${CUDNN_LIBRARY})
  add_library(nccl INTERFACE)
  target_include_directories(nccl SYSTEM INTERFACE ${NCCL_INCLUDE})
  target_link_libraries(nccl INTERFACE ${NCCL_LIBRARY})
endif()

# Whether device twins are in this build, for the sources (tensor/platform.h).
target_compile_definitions(moebius_options INTERFACE MOEBIUS_CUDA=$<BOOL:${MOEBIUS_HAS_CUDA}>)
