// Begin and end of text have one source of truth: what lies beside a tokenizer, in this order, then its own file.
#pragma once

#include <filesystem>

#include "data/tokenizer.h"
#include "models/text_ids.h"

namespace trine {

// From `folder`'s generation_config.json and config.json (models/text_ids.h), its tokenizer_config.json (or
// special_tokens_map.json) and the tokenizer's post-processor, and what the tokenizer's file alone says, each where
// the ones before say nothing. Ids outside the vocabulary are not taken. A prompt begins as in transformers: as
// add_bos_token says, else the post-processor, else the begin of text where no tokenizer_config.json names a class
// that has none. DataError for a file that is no JSON.
TextMarks read_text_marks(const Tokenizer& tokenizer, const std::filesystem::path& folder);

// What a model that is trained on its tokens has for begin and end.
TextIds text_ids_of(const Tokenizer& tokenizer);

// Begin and end among special tokens by their names: <s>, <|begin_of_text|>, [BOS], <｜end▁of▁sentence｜>, ...
bool names_begin(std::string_view token);
bool names_end(std::string_view token);

}  // namespace trine
