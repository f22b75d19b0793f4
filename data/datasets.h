// From what a user asks for (--data, --valid-data, --valid-fraction, or nothing) to the token sources of a run.
#pragma once

#include <filesystem>
#include <vector>

#include "data/token_source.h"
#include "data/tokenizer.h"

namespace trine {

struct DataRequest {
  std::vector<std::filesystem::path> data;  // token files, one stream in this order; empty: the default text
  std::filesystem::path valid_data;         // a token file of its own; empty: none
  double valid_fraction = 0;                // the last part of `data`; the default text always keeps its last 5 %
  int64_t vocab_size = 0;                   // of the model: every id is below it
  bool random = false;                      // without `data`: random tokens instead of the default text
  uint64_t seed = 0;                        // of the random tokens
};

struct Datasets {
  TokenSourcePtr train;
  TokenSourcePtr valid;  // null if there is nothing to validate on
};

// `tokenizer` makes the default text's tokens, and is compared with the PREFIX.json beside prepared files.
// ConfigError for flags that contradict each other or the tokenizer, DataError for files.
Datasets open_datasets(const DataRequest& request, const Tokenizer& tokenizer);

}  // namespace trine
