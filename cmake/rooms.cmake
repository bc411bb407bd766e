# Rooms and ops: flags, link lines and tests decided once.
#
#   room(NAME [LIBS lib...])  src/NAME/**.cc -> library floe_NAME; **_test.cc -> NAME_test
#   op(NAME)                  src/ops/NAME: *.cc -> floe_ops, *_cpu.cc -> floe_ops_kernels, *_test.cc -> ops_test
#
# With FLOE_CUDA every test is there twice: as it is, and as gpu.NAME with label gpu, where kernels and sessions run on
# the GPU (FLOE_TEST_DEVICE=cuda; skipped with a reason where there is none).
#
# What a room links to is what src/ROOMS lets it include. With FLOE_CUDA, *.cu files join the rooms, *_cuda.cu the
# kernels; without it, folders named cuda and src/comm/nccl* stay out of the build.

file(STRINGS ${PROJECT_SOURCE_DIR}/src/ROOMS rooms_lines REGEX "^[a-z_]+:")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ROOMS)

function(room_links NAME OUT)
  set(links "")
  foreach(line IN LISTS rooms_lines)
    if(line MATCHES "^${NAME}: *(.*)$")
      string(REPLACE " " ";" names "${CMAKE_MATCH_1}")
      foreach(dep IN LISTS names)
        list(APPEND links floe_${dep})
      endforeach()
    endif()
  endforeach()
  set(${OUT} ${links} PARENT_SCOPE)
endfunction()

# The sources below FOLDER, or only in it, as far as this configuration compiles them.
function(room_sources OUT GLOB FOLDER)
  set(patterns ${FOLDER}/*.cc)
  if(FLOE_CUDA)
    list(APPEND patterns ${FOLDER}/*.cu)
  endif()
  file(${GLOB} files CONFIGURE_DEPENDS ${patterns})
  if(NOT FLOE_CUDA)
    list(FILTER files EXCLUDE REGEX "/src/[a-z]+/cuda/|/src/comm/nccl|/src/ops/.*_cuda(_test)?\\.cc$")
  endif()
  set(${OUT} ${files} PARENT_SCOPE)
endfunction()

function(room_library NAME)
  cmake_parse_arguments(R "" "" "SOURCES;LIBS" ${ARGN})
  room_links(${NAME} links)
  if(R_SOURCES)
    add_library(floe_${NAME} STATIC ${R_SOURCES})
    target_link_libraries(floe_${NAME} PUBLIC floe_flags ${links} PRIVATE ${R_LIBS})
  else()
    add_library(floe_${NAME} INTERFACE)
    target_link_libraries(floe_${NAME} INTERFACE floe_flags ${links})
  endif()
endfunction()

# Tests may use any room at or below `testing`, whatever room they lie in.
function(room_test NAME)
  cmake_parse_arguments(R "" "" "SOURCES;LIBS" ${ARGN})
  if(NOT FLOE_TESTS OR NOT R_SOURCES)
    return()
  endif()
  add_executable(${NAME}_test ${R_SOURCES})
  target_link_libraries(${NAME}_test PRIVATE ${R_LIBS} GTest::gmock GTest::gtest_main)
  # Only the sources that name it get the path, so that the others' objects serve every checkout (ccache).
  foreach(source IN LISTS R_SOURCES)
    file(STRINGS ${source} uses REGEX "FLOE_SOURCE_DIR" LIMIT_COUNT 1)
    if(uses)
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS FLOE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    endif()
  endforeach()
  gtest_discover_tests(${NAME}_test TEST_PREFIX ${NAME}. DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS ${NAME} TIMEOUT 300)
  if(FLOE_CUDA AND NAME MATCHES "^(ops|compile|translate|train)$")
    gtest_discover_tests(${NAME}_test TEST_PREFIX gpu.${NAME}. TEST_LIST ${NAME}_gpu_tests DISCOVERY_MODE PRE_TEST
      PROPERTIES LABELS gpu TIMEOUT 300 ENVIRONMENT FLOE_TEST_DEVICE=cuda
      SKIP_REGULAR_EXPRESSION "SKIPPED|FLOE_TEST_DEVICE is cuda, but")
  endif()
endfunction()

function(room NAME)
  cmake_parse_arguments(R "" "" "LIBS;TEST_LIBS" ${ARGN})
  room_sources(sources GLOB_RECURSE ${PROJECT_SOURCE_DIR}/src/${NAME})
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.(cc|cu)$")
  list(FILTER tests INCLUDE REGEX "_test\\.(cc|cu)$")
  room_library(${NAME} SOURCES ${sources} LIBS ${R_LIBS})
  room_test(${NAME} SOURCES ${tests} LIBS floe_${NAME} ${R_TEST_LIBS})
endfunction()

# Rooms of kernels are compiled for speed in every preset but the sanitizers'.
function(set_kernel_flags NAME)
  separate_arguments(flags NATIVE_COMMAND "${FLOE_KERNEL_FLAGS}")
  target_compile_options(floe_${NAME} PRIVATE ${flags})
endfunction()

macro(op NAME)
  list(APPEND FLOE_OPS ${NAME})
endmacro()

# After the last op(): the two libraries and the two lists of registrations.
function(ops_finish)
  set(definitions "")
  set(kernels "")
  set(tests "")
  set(define_decls "")
  set(define_calls "")
  set(kernel_decls "")
  set(kernel_calls "")
  set(cuda_decls "")
  set(cuda_calls "")
  foreach(name IN LISTS FLOE_OPS)
    set(dir ${PROJECT_SOURCE_DIR}/src/ops/${name})
    room_sources(files GLOB ${dir})
    foreach(file IN LISTS files)
      if(file MATCHES "_test\\.(cc|cu)$")
        list(APPEND tests ${file})
      elseif(file MATCHES "(_cpu\\.cc|_cuda\\.cc|\\.cu)$")
        list(APPEND kernels ${file})
      else()
        list(APPEND definitions ${file})
      endif()
    endforeach()
    string(APPEND define_decls "void define_${name}(OpTable&);\n")
    string(APPEND define_calls "  define_${name}(table);\n")
    if(EXISTS ${dir}/${name}_cpu.cc)
      string(APPEND kernel_decls "void add_${name}_cpu(KernelTable&);\n")
      string(APPEND kernel_calls "  add_${name}_cpu(table);\n")
    endif()
    if(FLOE_CUDA AND (EXISTS ${dir}/${name}_cuda.cu OR EXISTS ${dir}/${name}_cuda.cc))
      string(APPEND cuda_decls "void add_${name}_cuda(KernelTable&);\n")
      string(APPEND cuda_calls "  add_${name}_cuda(table);\n")
    endif()
  endforeach()
  set(gen ${PROJECT_BINARY_DIR}/generated)
  file(CONFIGURE OUTPUT ${gen}/op_table.cc CONTENT
"// Generated from the op() lines of src/ops/CMakeLists.txt.
#include \"ir/op.h\"
namespace floe {
${define_decls}void define_all_ops(OpTable& table) {
${define_calls}}
}  // namespace floe
")
  file(CONFIGURE OUTPUT ${gen}/kernels.cc CONTENT
"// Generated from the op() lines of src/ops/CMakeLists.txt.
#include \"kernel/kernel.h\"
namespace floe {
${kernel_decls}void add_all_cpu_kernels(KernelTable& table) {
${kernel_calls}}
${cuda_decls}void add_all_cuda_kernels([[maybe_unused]] KernelTable& table) {
${cuda_calls}}
void add_all_kernels(DeviceKind device, KernelTable& table) {
  device == DeviceKind::cpu ? add_all_cpu_kernels(table) : add_all_cuda_kernels(table);
}
}  // namespace floe
")
  file(GLOB shared CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/*.cc)
  list(FILTER shared EXCLUDE REGEX "_test\\.cc$")
  room_library(ops SOURCES ${definitions} ${shared} ${gen}/op_table.cc)
  room_library(ops_kernels SOURCES ${kernels} ${gen}/kernels.cc LIBS hwy::hwy)
  # Kernels are compiled for speed in every preset but the sanitizers' and the debugger's.
  if(kernels)
    set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS "${FLOE_KERNEL_FLAGS}")
  endif()
  room_test(ops SOURCES ${tests} LIBS floe_ops floe_testing)
endfunction()
