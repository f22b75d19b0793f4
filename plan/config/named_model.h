// What --model names.
#pragma once

#include <string>

#include "base/error.h"
#include "models/presets.h"

namespace trine {

struct NamedModel {
  LlamaConfig model;
  TrainingDefaults training;
};
// A preset, a folder with a config.json, or such a file. ConfigError with all of `problems` and this one for a name
// that is none of them; DataError for what cannot be read. `where`: the command line or file that says so.
NamedModel named_model(const std::string& name, const std::string& where, Problems& problems);

}  // namespace trine
