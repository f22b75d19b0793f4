// The byte tokenizer as files that Hugging Face's transformers reads.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trine {

// Name and contents of each. In transformers encode and decode (skip_special_tokens=True) give what ours do: ids
// 0-255 are bytes; 256, 257 and 258 are special tokens, whose names in a text stay plain text.
std::vector<std::pair<std::string, std::string>> hugging_face_byte_tokenizer();

}  // namespace trine
