// train_llama's command line, --config files, and the config.json that a run folder keeps.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "plan/config/command_line.h"
#include "plan/config/config.h"
#include "plan/config/folder_facts.h"

namespace trine {

using CommandLine = std::variant<Config, TextRequest>;

// What is asked for: --resume's value, and where the run and its checkpoints may be. Empty: not given.
struct ResumeWish {
  std::string what;  // "latest", "auto", a run folder, a checkpoint or a folder of checkpoints
  std::string out, save, model;
};
// The run that goes on: its folder with its configuration, as to_json() gave it, and where to find its checkpoints.
struct ResumePoint {
  std::filesystem::path run_folder = {};  // empty: unknown, it goes on in a new one
  std::filesystem::path saves = {};       // the folder of its checkpoints
  std::filesystem::path checkpoint = {};  // empty: the newest good one
  nlohmann::json config = {};
  std::filesystem::path config_file = {};  // that says so
  std::string warning = {};                // empty: none
};
// Nothing: "auto", and no checkpoint was ever completed.
using FindResumePoint = std::function<std::optional<ResumePoint>(const ResumeWish&)>;

// Presets < --load-weights DIR < --config FILE.json < command line. A --model on the command line replaces all of
// the file's model; without any, --load-weights brings the model, and always the tokenizer.
// ConfigError with all problems at once; DataError for a file that cannot be read. REQUIRES: `find` where --resume
// may be given.
CommandLine parse_train_flags(int argc, const char* const* argv, const LaunchInfo& launch,
                              const std::string& version_text, const FolderFacts& folders = {},
                              const FindResumePoint& find = {});

// Every resolved value under its flag's name; --config reads it back to an equal Config (on as many ranks).
nlohmann::ordered_json to_json(const Config& config);

}  // namespace trine
