// How every program reads its command line. CLI11 splits it into flags and values; what is asked for instead of a
// run, flags in a file and what is wrong are the same everywhere.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace CLI {
class App;
}

namespace trine {

// --help or --version: print the text and end with code 0.
struct TextRequest {
  std::string text;
};

struct Words {
  std::optional<TextRequest> request;  // instead of anything else
  std::string config_file;             // of --config; empty: not given
};

// Adds --version and --config FILE.json to `app` and parses. Words that no flag took stay in app.remaining().
// ConfigError for a flag without its value, with an empty one, or with one that the flag itself
// refuses. REQUIRES: no option of `app` is marked required, so that its absence does not hide a typo.
Words parse_words(CLI::App& app, int argc, const char* const* argv, const std::string& version_text);

// The object {"flag": value, ...} of --config. DataError if the file cannot be read, or holds something else.
nlohmann::json read_flags_file(const std::string& path);

// "--layer is not a flag. Did you mean --layers?", or "'layer' is not a flag. ..." without dashes, as in a file.
// `word` has none.
std::string not_a_flag(std::string_view word, const std::vector<std::string>& known, std::string_view dashes);

// Adds a problem for each of the words of a command line that no flag took: unknown flags, and values that belong
// to none. The value behind an unknown flag is not worth a second complaint.
void complain_about_extras(const std::vector<std::string>& extras, const std::vector<std::string>& known,
                           Problems& problems);

}  // namespace trine
