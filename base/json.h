// JSON from files that people or other programs wrote.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

namespace trine {

// Parses `text`, which came from `file`. DataError naming the file for a syntax error (with its position) and for a
// key that stands twice in one object, which most readers would silently settle one way or the other.
nlohmann::json parse_json(std::string_view text, const std::filesystem::path& file);
nlohmann::json read_json_file(const std::filesystem::path& file);

}  // namespace trine
