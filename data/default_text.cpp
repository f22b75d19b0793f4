#include "data/default_text.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "data/text_reader.h"

namespace trine {
namespace fs = std::filesystem;

std::vector<fs::path> default_text_candidates() {
  constexpr const char* package_path = "usr/share/doc/jargon-text/jargon.txt.gz";
  std::vector<fs::path> candidates;
  const auto add_folder = [&](const fs::path& folder) {
    for (const char* name : {"jargon.txt", "jargon.txt.gz", package_path}) candidates.push_back(folder / name);
  };
  const char* data_dir = std::getenv("TRINE_DATA_DIR");
  if (data_dir != nullptr && *data_dir != '\0') add_folder(data_dir);
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') add_folder(fs::path(home) / ".cache/trine");
  candidates.push_back(fs::path("/") / package_path);
  return candidates;
}

std::optional<fs::path> find_default_text() {
  for (const fs::path& candidate : default_text_candidates()) {
    std::error_code ignored;
    if (fs::is_regular_file(candidate, ignored)) return candidate;
  }
  return std::nullopt;
}

std::string read_maybe_gzip(const fs::path& file) {
  TextReader reader(file.string(), nullptr);
  std::string text;
  for (std::string block; reader.read(block);) text += block;
  return text;
}

TokenSourcePtr default_tokens(const Tokenizer& tokenizer, int64_t vocab_size) {
  const auto file = find_default_text();
  if (!file) {
    std::string places;
    for (const fs::path& candidate : default_text_candidates()) places += "\n  " + candidate.string();
    throw DataError(
        fmt::format("[data] no --data, and the default text (Debian's jargon-text) is in none of these "
                    "places:{}\nRun scripts/quickstart.sh, which fetches it, or give --data.",
                    places));
  }
  std::vector<int32_t> tokens;
  const std::string text = read_maybe_gzip(*file);
  if (text.empty()) throw DataError(fmt::format("[data] {}: the file is empty. Install it again.", file->string()));
  tokenizer.encode(text, tokens);
  if (!tokenizer.marks().ends.empty()) tokens.push_back(tokenizer.marks().ends.front());
  if (const int32_t largest = *std::ranges::max_element(tokens); largest >= vocab_size)
    throw ConfigError(fmt::format(
        "[data] no --data, and the default text with --tokenizer {} has the id {}, but the model's vocabulary "
        "is {}. Give --data, or raise --vocab to {}.",
        tokenizer.name(), largest, vocab_size, tokenizer.vocab_size()));
  return std::make_shared<MemoryTokens>(std::move(tokens), file->filename().string());
}

}  // namespace trine
