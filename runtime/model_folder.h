// A folder with a model, as generation needs it, whatever wrote the folder.
#pragma once

#include <filesystem>
#include <string>

#include "models/llama_config.h"
#include "runtime/parameters.h"

namespace trine {

struct ModelFolder {
  LlamaConfig config;
  std::string tokenizer;    // what make_tokenizer() takes; empty: the folder has none
  ParameterSource weights;  // of every parameter, in its right shape
};

// A checkpoint, a run folder (its newest good checkpoint; Error with ExitCode::kNoCheckpoint if there is none), or
// a folder in Hugging Face's form. DataError if it is none of them, or its weights do not fit its configuration.
ModelFolder open_model(const std::filesystem::path& folder);

}  // namespace trine
