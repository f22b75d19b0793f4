#include "data/utf8.h"

namespace trine {
namespace {

size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return 2;
  if (lead >= 0xe0 && lead < 0xf0) return 3;
  if (lead >= 0xf0 && lead < 0xf5) return 4;
  return 0;
}

bool is_space(uint32_t c) {
  return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// Bytes of the white space that `text` begins with: one character, or none.
size_t one_space(std::string_view text) {
  const size_t length = text.empty() ? 0 : sequence_length(static_cast<unsigned char>(text[0]));
  return length > 0 && length <= text.size() && is_space(first_code_point(text).value) ? length : 0;
}

}  // namespace

Utf8 utf8_of(uint32_t c) {
  const auto last = [c](int shift) { return static_cast<char>(0x80u | (c >> shift & 0x3fu)); };
  if (c < 0x80) return {{static_cast<char>(c)}, 1};
  if (c < 0x800) return {{static_cast<char>(0xc0u | c >> 6), last(0)}, 2};
  if (c < 0x10000) return {{static_cast<char>(0xe0u | c >> 12), last(6), last(0)}, 3};
  return {{static_cast<char>(0xf0u | c >> 18), last(12), last(6), last(0)}, 4};
}

size_t character_begin(std::string_view text, size_t at) {
  const size_t limit = at < 3 ? 0 : at - 3;
  for (size_t begin = at; begin < text.size(); --begin) {
    if ((static_cast<unsigned char>(text[begin]) & 0xc0u) != 0x80u) return begin;
    if (begin == limit) break;
  }
  return at;
}

size_t space_at_begin(std::string_view text) {
  size_t at = 0;
  while (const size_t length = one_space(text.substr(at))) at += length;
  return at;
}

size_t space_at_end(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const size_t begin = character_begin(text, end - 1);
    if (one_space(text.substr(begin, end - begin)) != end - begin) break;
    end = begin;
  }
  return text.size() - end;
}

CodePoint first_code_point(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = sequence_length(lead);
  if (length <= 1) return {lead, 1};
  uint32_t value = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) value = value << 6 | (static_cast<unsigned char>(text[i]) & 0x3fu);
  return {value, length};
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    if (length == 0 || at + length > text.size()) break;
    bool continued = true;
    for (size_t i = 1; i < length; ++i) continued &= (static_cast<unsigned char>(text[at + i]) & 0xc0u) == 0x80u;
    if (!continued) break;
    const uint32_t value = first_code_point(text.substr(at, length)).value;
    if ((length == 3 && (value < 0x800 || (value >= 0xd800 && value < 0xe000))) ||
        (length == 4 && (value < 0x10000 || value > 0x10ffff))) {
      break;
    }
    at += length;
  }
  return at;
}

}  // namespace trine
