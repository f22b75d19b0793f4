// What the flags ask about folders and tokenizers that later layers read (runtime/generation/model_folder.h).
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "models/text_ids.h"
#include "plan/config/flag_table.h"

namespace trine {

struct FolderFacts {
  // The configuration, as to_json() gives it, of the training that left a folder of weights behind; nothing for
  // folders in another form.
  std::function<std::optional<nlohmann::json>(const std::string& folder)> saved_config;
  std::function<bool(const std::string& folder)> has_tokenizer;
  // Begin and end of text of a tokenizer as --tokenizer names it. DataError if it cannot be read.
  std::function<TextIds(const std::string& tokenizer)> text_ids;
  // Of --cluster, a name or a file. ConfigError, DataError for one that cannot be.
  std::function<ClusterCores(const std::string& cluster)> cluster_cores = {};
};

// --tokenizer, where it is not given and the folder of --load-weights, or else of --model, has one: the ids of
// weights mean that tokenizer's tokens.
void add_tokenizer_of_folder(GivenFlags& given, const FolderFacts& facts);

// Begin and end of text are those of a given tokenizer, unless --bos or --eos says it: a preset's, or those of
// somebody else's config.json, are ordinary tokens in it. Ids outside the model's vocabulary are not taken.
void take_text_ids(const GivenFlags& given, const FolderFacts& facts, Config& config);

}  // namespace trine
