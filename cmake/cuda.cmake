# The module _cuda: for NVIDIA GPUs, or EMULATED, which runs the same kernels on the host (tests/emulation).
set(cuda_bindings
    src/cuda/module.cpp src/cuda/dropout.cpp src/cuda/loops.cpp src/cuda/norms.cpp src/cuda/optimisers.cpp
    src/cuda/softmax.cpp src/cuda/sum_by_id.cpp src/cuda/take_rows.cpp)
set(cuda_kernels
    csrc/cuda/chain.cu csrc/cuda/device.cu csrc/cuda/dropout.cu csrc/cuda/loops.cu csrc/cuda/norms.cu
    csrc/cuda/optimisers.cu csrc/cuda/plan.cu csrc/cuda/resident_loops.cu csrc/cuda/softmax.cu csrc/cuda/step_loops.cu
    csrc/cuda/sum_by_id.cu csrc/cuda/take_rows.cu)

if(FUSEDRNN_CUDA STREQUAL "EMULATED")
  set_source_files_properties(${cuda_kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  pybind11_add_module(_cuda MODULE ${cuda_bindings} ${cuda_kernels}
    tests/emulation/cuda_graphs.cpp tests/emulation/cuda_runtime.cpp)
  target_include_directories(_cuda BEFORE PRIVATE tests/emulation src)
  target_link_libraries(_cuda PRIVATE fusedrnn_options)
else()
  # Unless somebody names architectures: all from Ampere on that the compiler knows. Those from Hopper on are made from one
  # intermediate program, which is kept for architectures to come; compiling it is half of the work.
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    set(cuda_targets compute_80:sm_80 compute_90:sm_90 compute_90:compute_90)
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.0)  # the first that knows C++20
    set(too_old "the CUDA compiler must be 12.0 or later, got ${CMAKE_CUDA_COMPILER_VERSION}")
    if(FUSEDRNN_CUDA STREQUAL "ON")
      message(FATAL_ERROR "FUSEDRNN_CUDA is ON, but ${too_old}")
    endif()
    message(STATUS "No CUDA backend: ${too_old}")
    return()
  endif()
  if(cuda_targets AND CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND cuda_targets compute_90:sm_100 compute_90:sm_120)
  endif()
  list(TRANSFORM cuda_targets REPLACE "(.*):(.*)" "-gencode=arch=\\1,code=\\2")
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  add_library(fusedrnn_cuda_kernels OBJECT ${cuda_kernels})
  target_include_directories(fusedrnn_cuda_kernels PRIVATE csrc)
  target_compile_options(fusedrnn_cuda_kernels PRIVATE ${cuda_targets} -Xcompiler=-Wall,-Wextra --threads=0)
  set_source_files_properties(csrc/cuda/optimisers.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
  if(FUSEDRNN_WERROR)
    target_compile_options(fusedrnn_cuda_kernels PRIVATE --Werror=all-warnings)
    # Numbers that a persistent kernel cannot keep in registers would go to memory and back in every step.
    set_source_files_properties(csrc/cuda/resident_loops.cu PROPERTIES COMPILE_OPTIONS
      "-Xptxas=--warn-on-spills,--warning-as-error")
  endif()
  pybind11_add_module(_cuda MODULE ${cuda_bindings} $<TARGET_OBJECTS:fusedrnn_cuda_kernels>)
  target_include_directories(_cuda PRIVATE src)
  target_link_libraries(_cuda PRIVATE fusedrnn_options CUDA::cudart_static)
endif()
install(TARGETS _cuda DESTINATION fusedrnn)
