#include "data/text_stream.h"

#include <algorithm>

namespace trine {
namespace {

constexpr size_t kContext = 8, kWindow = 64;  // tokens
// U+FFFD, which SentencePiece gives for each byte of half a character.
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Bytes of `text` before a character at its end that may still change.
size_t settled_bytes(std::string_view text) {
  size_t end = text.size();
  while (text.substr(0, end).ends_with(kReplacement) && text.size() - end < 3 * kReplacement.size())
    end -= kReplacement.size();
  if (end < text.size()) return end;
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // inside a character
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before) : tokenizer_(tokenizer) {
  start_window(before.last(std::min(before.size(), kContext)));
}

void TextStream::start_window(std::span<const int32_t> ids) {
  window_ = {ids.begin(), ids.end()};
  given_ = settled_bytes(tokenizer_.decode(window_));
}

std::string TextStream::add(int32_t id) {
  window_.push_back(id);
  const std::string text = tokenizer_.decode(window_);
  const size_t settled = settled_bytes(text);
  if (settled <= given_) return {};
  std::string fresh = text.substr(given_, settled - given_);
  given_ = settled;
  if (window_.size() >= kWindow && settled == text.size())
    start_window(std::vector(window_.end() - kContext, window_.end()));
  return fresh;
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(window_);
  std::string rest = text.substr(std::min(given_, text.size()));
  given_ = text.size();
  return rest;
}

}  // namespace trine
