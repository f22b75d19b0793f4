// JSON from files that people or other programs wrote. Everything that is read as JSON is read here.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

namespace trine {

// As deep as the reference implementation of safetensors reads; what walks a value may recurse so deep.
inline constexpr int kMaxJsonDepth = 128;

// Parses `text`, which came from `file`. DataError naming the file for a syntax error (with its position), more
// than kMaxJsonDepth levels, and a key that stands twice in one object, which most readers would silently settle
// one way or the other. Time and memory grow with the text's length alone.
nlohmann::json parse_json(std::string_view text, const std::filesystem::path& file);
nlohmann::json read_json_file(const std::filesystem::path& file);

// What is wrong with a text, for a caller that knows where it stands (a line of a file, for instance).
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
enum class RepeatedKeys { kRefused, kLastWins };
nlohmann::json parse_json(std::string_view text, RepeatedKeys repeated = RepeatedKeys::kRefused);  // JsonError

}  // namespace trine
