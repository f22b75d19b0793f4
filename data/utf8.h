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
// The bytes of a code point below 0x110000.
struct Utf8 {
  char bytes[4];
  size_t num_bytes;
  operator std::string_view() const { return {bytes, num_bytes}; }
};
Utf8 utf8_of(uint32_t code_point);

// `at`, or where the character begins that it is within. REQUIRES: at <= text.size().
size_t character_begin(std::string_view text, size_t at);

// Length of the white space (Unicode's White_Space) that a text begins or ends with.
size_t space_at_begin(std::string_view text);
size_t space_at_end(std::string_view text);

}  // namespace trine
