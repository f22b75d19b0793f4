// A folder with a model, as generation needs it, whatever wrote the folder.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/llama_config.h"
#include "plan/config/folder_facts.h"
#include "runtime/state/parameters.h"

namespace trine {

struct ModelFolder {
  LlamaConfig config;
  std::string tokenizer;                      // what make_tokenizer() takes; empty: the folder has none
  ParameterSource weights;                    // of every parameter, in its right shape
  std::vector<std::string> passed_over = {};  // damaged checkpoints newer than the one that is read, and why
};

// The configuration (plan/config/flags.h) of the training that saved a folder find_checkpoints() knows; nothing for
// others. Reads manifests alone. Error with ExitCode::kNoCheckpoint if none is good.
std::optional<nlohmann::json> saved_config(const std::filesystem::path& folder);

// For parse_train_flags().
FolderFacts folder_facts();

// A folder that find_checkpoints() knows (Error with ExitCode::kNoCheckpoint if no checkpoint is good), or one in
// Hugging Face's form. DataError if it is none of them, or its weights do not fit its configuration.
ModelFolder open_model(const std::filesystem::path& folder);

}  // namespace trine
