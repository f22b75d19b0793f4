// What the tokenizers need to know about UTF-8.
#pragma once

#include <cstdint>
#include <string_view>

namespace trine {

// Length of the longest prefix of `text` that is valid UTF-8 (RFC 3629: no overlong forms, no surrogates).
size_t valid_utf8_prefix(std::string_view text);

// The code point that a valid, non-empty text begins with, and how many bytes it takes.
struct CodePoint {
  uint32_t value;
  size_t num_bytes;
};
CodePoint first_code_point(std::string_view text);

}  // namespace trine
