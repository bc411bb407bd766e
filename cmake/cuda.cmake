# CUDA, when FLOE_CUDA is on: the language, the toolkit's headers, flags. No CUDA library is linked but the static
# run time: the driver and the rest are loaded by name, so that one binary also starts without them.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90a-real)  # 80 with PTX, so that newer cards run it; 90a has the fast paths
endif()
if(NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
# Some notes of ptxas are failures.
list(PREPEND CMAKE_CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/tools/strict_ptxas.sh)
enable_language(CUDA)
find_package(CUDAToolkit 13 REQUIRED)

if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 knows none for nvcc 13
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
endif()

# As for C++: no contraction unless a kernel writes fma itself.
target_compile_options(floe_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Xcompiler=-ffp-contract=off,-Wall,-Wextra,-Wno-missing-field-initializers>")
target_include_directories(floe_flags SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
