# Writes a source with the text of every cluster/profiles/*.json: add_built_in_profiles(TARGET).
function(add_built_in_profiles target)
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cluster/profiles/*.json)
  set(entries "")
  foreach(file ${files})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} text)
    string(APPEND entries "    {\"${name}\", R\"profile(${text})profile\"},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/built_in_profiles.cpp @ONLY CONTENT [[
#include <array>

#include "cluster/built_in.h"

namespace trine {

std::span<const BuiltIn> built_in_texts() {
  static constexpr auto kTexts = std::to_array<BuiltIn>({
@entries@  });
  return kTexts;
}

}  // namespace trine
]])
  target_sources(${target} PRIVATE ${PROJECT_BINARY_DIR}/built_in_profiles.cpp)
endfunction()
