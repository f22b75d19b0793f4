# What every target of Trine is built with, and trine_library(): a folder is a library.

# -Wno-restrict: false alarms of g++ 12 in std::string (GCC bug 105651).
add_library(trine_options INTERFACE)
target_compile_options(trine_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-missing-field-initializers
                                               -Wno-restrict)
target_include_directories(trine_options INTERFACE ${PROJECT_SOURCE_DIR})
if(TRINE_SANITIZE)
  set(sanitizers ${TRINE_SANITIZE})
  if(TRINE_SANITIZE STREQUAL "ON")
    set(sanitizers address,undefined)
  endif()
  target_compile_options(trine_options INTERFACE -fsanitize=${sanitizers} -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer -O1 -g)
  target_link_options(trine_options INTERFACE -fsanitize=${sanitizers})
endif()
if(TRINE_SANITIZE STREQUAL "thread")
  # No OpenMP: ThreadSanitizer does not see how libgomp's threads wait for each other. The library itself stays, for
  # the functions of omp.h and for oneDNN. -Wno-tsan: fences of the standard library, which it does not know either.
  find_library(GOMP_LIBRARY NAMES gomp PATHS ${CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
  add_library(OpenMP::OpenMP_CXX INTERFACE IMPORTED GLOBAL)
  target_compile_options(OpenMP::OpenMP_CXX INTERFACE -Wno-unknown-pragmas -Wno-unused-parameter)
  target_link_libraries(OpenMP::OpenMP_CXX INTERFACE ${GOMP_LIBRARY})
  target_compile_options(trine_options INTERFACE -Wno-tsan)
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()

# trine_library(NAME [DEPS public...] [PRIVATE_DEPS private...]): all .cpp of folder NAME and of its subfolders.
function(trine_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cpp)
  add_library(trine_${name} STATIC ${sources})
  target_link_libraries(trine_${name} PUBLIC ${ARG_DEPS} PRIVATE trine_options ${ARG_PRIVATE_DEPS})
  target_include_directories(trine_${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()
