# What every target of Trine is built with, and trine_library(): a folder is a library.

# Every compiler warns of something else, and only those of one are mended as they come: others may go on.
set(reference_compiler OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
  set(reference_compiler ON)
endif()
option(TRINE_WERROR "warnings are errors; by default those of g++ 12" ${reference_compiler})

# nvcc gets its own options (kernels/).
set(host $<NOT:$<COMPILE_LANGUAGE:CUDA>>)
set(gnu $<CXX_COMPILER_ID:GNU>)
set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers)
if(TRINE_WERROR)
  list(APPEND warnings -Werror)
endif()
# False alarms of g++ 12 in std::string (GCC bug 105651).
list(APPEND warnings "$<${gnu}:-Wno-restrict>")
add_library(trine_options INTERFACE)
target_compile_options(trine_options INTERFACE "$<${host}:${warnings}>")
target_include_directories(trine_options INTERFACE ${PROJECT_SOURCE_DIR})
if(TRINE_SANITIZE)
  set(sanitizers ${TRINE_SANITIZE})
  if(TRINE_SANITIZE STREQUAL "ON")
    set(sanitizers address,undefined)
  endif()
  set(checks -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1)
  target_compile_options(trine_options INTERFACE "$<${host}:${checks}>")
  target_link_options(trine_options INTERFACE -fsanitize=${sanitizers})
endif()
if(TRINE_SANITIZE STREQUAL "thread")
  # No OpenMP: ThreadSanitizer does not see how libgomp's threads wait for each other. The library itself stays, for
  # the functions of omp.h and for oneDNN. -Wno-tsan: fences of the standard library, which it does not know either.
  find_library(GOMP_LIBRARY NAMES gomp PATHS ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
  add_library(OpenMP::OpenMP_CXX INTERFACE IMPORTED GLOBAL)
  target_compile_options(OpenMP::OpenMP_CXX INTERFACE -Wno-unknown-pragmas -Wno-unused-parameter)
  target_link_libraries(OpenMP::OpenMP_CXX INTERFACE ${GOMP_LIBRARY})
  target_compile_options(trine_options INTERFACE $<$<AND:${host},${gnu}>:-Wno-tsan>)
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()

# trine_library(NAME [EXCLUDE files...] [DEPS public...] [PRIVATE_DEPS private...]): all .cpp of folder NAME and of its
# subfolders, but EXCLUDE.
function(trine_library name)
  cmake_parse_arguments(ARG "" "" "EXCLUDE;DEPS;PRIVATE_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cpp)
  list(TRANSFORM ARG_EXCLUDE PREPEND ${PROJECT_SOURCE_DIR}/${name}/)
  list(REMOVE_ITEM sources ${ARG_EXCLUDE})
  add_library(trine_${name} STATIC ${sources})
  target_link_libraries(trine_${name} PUBLIC ${ARG_DEPS} PRIVATE trine_options ${ARG_PRIVATE_DEPS})
  target_include_directories(trine_${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()
