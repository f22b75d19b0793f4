// train_llama's command line, --config files, and the config.json that a run folder keeps.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>

#include "plan/config.h"
#include "plan/resume.h"

namespace trine {

// --help or --version: print the text and end with code 0.
struct TextRequest {
  std::string text;
};
using CommandLine = std::variant<Config, TextRequest>;

// The configuration, as to_json() gives it, of the training that left a folder of weights behind; nothing for
// folders in another form.
using SavedConfig = std::function<std::optional<nlohmann::json>(const std::string& folder)>;

// find_resume_point(), or what takes its place on ranks that are told what the first one found.
using FindResumePoint = std::function<std::optional<ResumePoint>(const std::string& what, const std::string& out,
                                                                 const std::string& model)>;

// Presets < --load-weights DIR < --config FILE.json < command line. A --model on the command line replaces all of
// the file's model; without any, --load-weights brings model and tokenizer. ConfigError with all problems at once;
// DataError for a file that cannot be read.
CommandLine parse_train_flags(int argc, const char* const* argv, const LaunchInfo& launch,
                              const std::string& version_text, const SavedConfig& saved_config = {},
                              const FindResumePoint& find = find_resume_point);

// Every resolved value under its flag's name; --config reads it back to an equal Config (on as many ranks).
nlohmann::ordered_json to_json(const Config& config);

}  // namespace trine
