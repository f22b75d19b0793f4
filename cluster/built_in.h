// The profiles that the library carries, as text (cluster/profiles/*.json; CMake writes the source).
#pragma once

#include <span>
#include <string_view>

namespace trine {

struct BuiltIn {
  std::string_view name, text;
};
std::span<const BuiltIn> built_in_texts();

}  // namespace trine
