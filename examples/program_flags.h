// The command line of the small programs: all problems at once, a typo names the nearest flag,
// flags may stand in a file.
#pragma once

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/text.h"

namespace trine {

// Adds --version and --config FILE.json to `app` and parses. False if --help or --version was asked for and
// printed. Flags that do not exist are added to `problems`, with the flag that was probably meant; CLI11's own
// complaints (a value of the wrong type) are a ConfigError. REQUIRES: no option of `app` is marked required, so
// that its absence does not hide a typo; the program adds that to `problems` itself.
bool parse_flags(CLI::App& app, int argc, const char* const* argv, Problems& problems);

// Lets an option with an integer take any decimal number that is one, such as 1e3; others stay as they are.
template <typename T>
CLI::Option* with_integers(CLI::Option* option) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
    option->transform([](const std::string& text) {
      const auto value = parse_integer(text);
      return value ? std::to_string(*value) : text;
    });
  return option;
}

}  // namespace trine
