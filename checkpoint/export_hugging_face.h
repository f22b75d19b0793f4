// A checkpoint's weights as a model folder of Hugging Face's transformers, and such a folder as a checkpoint.
// Names, shapes and the RoPE convention are the same on both sides, so elements are only copied or rounded.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "models/text_ids.h"

namespace trine {

struct ExportOptions {
  int64_t max_shard_bytes = 5'000'000'000;  // of tensors in a file; a larger tensor has a file of its own
  std::optional<DType> dtype;               // f32, bf16 or f16; none: what was trained in
  std::filesystem::path tokenizer;          // copied, with what transformers reads beside it; empty: none
  std::vector<std::pair<std::string, std::string>> files = {};  // others: name and contents
};
// Writes config.json (for transformers 4 and 5), model.safetensors or shards with an index, and the tokenizer's
// files. Returns the names of all. Reads a block at a time. ConfigError if `folder` has files; DataError, also for
// a weight that the type cannot hold.
std::vector<std::string> export_hugging_face(Checkpoint& checkpoint, const std::filesystem::path& folder,
                                             const ExportOptions& options);

// What a checkpoint remembers of the tokenizer of its ids.
struct ModelTokenizer {
  std::string spec;  // as --tokenizer takes it; empty: not known
  std::string hash;
  TextIds ids = {};  // where the model's config says no begin or end of text
};

// Writes folder/step-000000: the weights as f32, zero moments, nothing trained yet. Returns its path. ConfigError
// if there is one already; DataError if the folder's weights are not those of its config.json.
std::filesystem::path import_hugging_face(const std::filesystem::path& hugging_face,
                                          const std::filesystem::path& folder, const ModelTokenizer& tokenizer);

}  // namespace trine
