// Tokens that are found in a text as they are written, before it is cut into pieces: tokenizer.json's added_tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.h"

namespace trine {

struct AddedToken {
  std::string text;
  int32_t id = 0;
  bool single_word = false;                        // only between characters that are no part of a word
  bool strips_left = false, strips_right = false;  // takes the white space beside it
};

class AddedTokens {
 public:
  void add(AddedToken token);  // REQUIRES: its text is not empty

  struct Found {
    size_t begin, end;  // with the white space it takes
    int32_t id;
  };
  // In order; the leftmost first, of those the longest (find_matches() of tokenizers).
  std::vector<Found> find(std::string_view text) const;

  bool empty() const { return tokens_.empty(); }
  // Bytes at the end of a text from which more text may still make a token.
  size_t open_bytes() const { return empty() ? 0 : longest_ + 4; }
  bool strip_left() const { return strip_left_; }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  const AddedToken* token_at(std::string_view text) const;
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::array<std::vector<size_t>, 256> by_first_byte_;  // of tokens_, longest first
  size_t longest_ = 0;
  bool strip_left_ = false;
  std::optional<Regex> word_character_;  // where a token asks for it
};

}  // namespace trine
