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

}  // namespace

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
