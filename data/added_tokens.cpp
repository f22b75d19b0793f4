#include "data/added_tokens.h"

#include <algorithm>

#include "data/utf8.h"

namespace trine {

void AddedTokens::add(AddedToken token) {
  longest_ = std::max(longest_, token.text.size());
  strip_left_ |= token.strips_left;
  if (token.single_word && !word_character_)
    word_character_.emplace(R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}])", "added tokens");
  auto& same_byte = by_first_byte_[static_cast<unsigned char>(token.text[0])];
  const auto shorter =
      std::ranges::find_if(same_byte, [&](size_t other) { return tokens_[other].text.size() < token.text.size(); });
  same_byte.insert(shorter, tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::token_at(std::string_view text) const {
  for (const size_t i : by_first_byte_[static_cast<unsigned char>(text[0])])
    if (text.starts_with(tokens_[i].text)) return &tokens_[i];
  return nullptr;
}

bool AddedTokens::stands_alone(std::string_view text, size_t begin, size_t end) const {
  const auto is_word = [&](std::string_view character) {
    return !character.empty() && valid_utf8_prefix(character) == character.size() &&
           word_character_->find(character, 0).has_value();
  };
  const size_t before = begin == 0 ? 0 : character_begin(text, begin - 1);
  const std::string_view behind = text.substr(end);
  const size_t length = behind.empty() ? 0 : std::min(first_code_point(behind).num_bytes, behind.size());
  return !is_word(text.substr(before, begin - before)) && !is_word(behind.substr(0, length));
}

std::vector<AddedTokens::Found> AddedTokens::find(std::string_view text) const {
  std::vector<Found> found;
  size_t free = 0;  // behind the last one
  for (size_t at = 0; at < text.size() && !empty();) {
    const AddedToken* token = token_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at += token->text.size();
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->strips_left) begin = std::max(begin - space_at_end(text.substr(0, begin)), free);
    if (token->strips_right) end += space_at_begin(text.substr(end));
    found.push_back({begin, end, token->id});
    free = end;
  }
  return found;
}

}  // namespace trine
