// Begin and end of text as a folder in Hugging Face's form says them for the model.
#pragma once

#include <filesystem>
#include <vector>

namespace trine {

struct TextIds {
  int begin = -1;         // -1: not said
  std::vector<int> ends;  // any of them ends a text; empty: not said
};

// Of generation_config.json where it says them, else of config.json, as transformers' generate() takes them. Null,
// negative ids and absent files say nothing. DataError for a file that is no JSON.
TextIds read_text_ids(const std::filesystem::path& folder);

}  // namespace trine
