// The one table of train_llama's flags. The command line, --help, --config files and the run folder's config.json
// all come from it, so a flag is one line in flag_table.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/config/flag_values.h"

namespace trine {

struct Flag {
  std::string_view name;                  // without dashes: "micro-batch"
  std::vector<std::string_view> aliases;  // Megatron's names
  std::string_view group;
  std::string_view value;  // as --help shows it: "N"; empty for a switch that takes no value
  std::string_view help;
  std::optional<std::string_view> value_if_bare;  // what `--sp` alone means, where a value may be left out
  JsonKind kind;
  std::string needs;  // "an integer"
  // Writes the texts (one, but for a list) into the config; false, and no change, if they are not what is needed.
  std::function<bool(Config&, const std::vector<std::string>&)> set;
  // The texts that set() turns into this config's value; nothing for an optional that is not set.
  std::function<std::optional<std::vector<std::string>>(const Config&)> get;
};

std::span<const Flag> flag_table();
const Flag* find_flag(std::string_view name_or_alias);  // nullptr if there is none

// What was given, by canonical name, before anything is resolved. `where` is "flags" or a file, for messages.
struct GivenFlag {
  std::vector<std::string> texts;
  std::string where;
};
using GivenFlags = std::map<std::string, GivenFlag, std::less<>>;

// Presets or config.json < what is given < nothing; then what follows from other values, then validate().
// ConfigError with all problems; DataError for a broken config.json of the model.
Config resolve(const GivenFlags& given, const LaunchInfo& launch);

}  // namespace trine
