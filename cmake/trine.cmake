# What every target of Trine is built with, and trine_library(): a folder is a library.

# -Wno-restrict: false alarms of g++ 12 in std::string (GCC bug 105651).
add_library(trine_options INTERFACE)
target_compile_options(trine_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-missing-field-initializers
                                               -Wno-restrict)
target_include_directories(trine_options INTERFACE ${PROJECT_SOURCE_DIR})
if(TRINE_SANITIZE)
  target_compile_options(trine_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer -O1 -g)
  target_link_options(trine_options INTERFACE -fsanitize=address,undefined)
endif()

# trine_library(NAME [DEPS public...] [PRIVATE_DEPS private...]): all .cpp of folder NAME and of its subfolders.
function(trine_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;PRIVATE_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cpp)
  add_library(trine_${name} STATIC ${sources})
  target_link_libraries(trine_${name} PUBLIC ${ARG_DEPS} PRIVATE trine_options ${ARG_PRIVATE_DEPS})
  target_include_directories(trine_${name} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()
