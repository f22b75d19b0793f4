// The command line of the small programs: all problems at once, a typo names the nearest flag,
// flags may stand in a file.
#pragma once

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "plan/config/flag_values.h"

namespace trine {

// Adds --version and --config FILE.json to `app` and parses (plan/config/command_line.h). False if --help or
// --version was asked for and printed. Flags that do not exist and values of a file that do not fit are added to
// `problems`; those of the command line are a ConfigError. REQUIRES: no option of `app` is marked required; the
// program adds what is missing to `problems` itself.
bool parse_flags(CLI::App& app, int argc, const char* const* argv, Problems& problems);

// Lets an option with a number take what train_llama's flags take, such as 1e3 for an integer, and refuse the rest in
// the same words; others stay as they are.
template <typename T>
CLI::Option* with_numbers(CLI::Option* option) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
    option->transform([](const std::string& text) {
      const std::optional<T> value = ValueText<T>::parse(text);
      if (!value) throw CLI::ValidationError(fmt::format("got '{}' but needs {}", text, ValueText<T>::needs()));
      return ValueText<T>::print(*value);
    });
  return option;
}

}  // namespace trine
