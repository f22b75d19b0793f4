// PREFIX.json: how prepare_data made PREFIX-train and PREFIX-valid, so that a trainer can refuse
// tokens of another tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "data/tokenizer.h"

namespace trine {

struct PreparedInfo {
  std::string tokenizer;  // name, for people
  uint64_t tokenizer_hash = 0;
  int64_t vocab_size = 0;
  int64_t train_tokens = 0, valid_tokens = 0, num_documents = 0;
  int64_t skipped_lines = 0;  // bad ones that --skip-bad-lines left out
  std::string first_skipped;  // file:line: what; not in PREFIX.json
};

std::string to_json_text(const PreparedInfo& info);
PreparedInfo read_prepared_info(const std::filesystem::path& file);  // DataError

// ConfigError, naming the file, if one that prepare_data would write with this PREFIX is there and is not its own:
// a .json of something else, or a .bin or .idx without a .json of ours or an index of tokens.
void require_own_outputs(const std::filesystem::path& prefix);

// The PREFIX.json that belongs to token files `data` (PREFIX-train, PREFIX-valid.bin, ...), if there is one.
std::optional<std::filesystem::path> find_prepared_info(const std::filesystem::path& data);

// ConfigError naming both tokenizers if `data` was prepared with another one; nothing if that is not known.
void check_prepared_with(const std::filesystem::path& data, const Tokenizer& tokenizer);

}  // namespace trine
