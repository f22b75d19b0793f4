#include "data/token_texts.h"

#include <charconv>

#include "data/pre_tokenizer.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr int32_t kMaxId = 1 << 24;

// "<0x0A>" is a newline.
std::optional<char> byte_of(std::string_view token) {
  unsigned value = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  return error == std::errc{} && end == token.data() + 5 ? std::optional(static_cast<char>(value)) : std::nullopt;
}

}  // namespace

TokenTexts::TokenTexts(const Json& decoder, bool writes_bytes, const TokenizerFile& file)
    : file_(file), writes_bytes_(writes_bytes) {
  if (!decoder.is_null()) read(decoder);
}

void TokenTexts::read(const Json& decoder) {
  const auto type = decoder.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const Json& part : decoder.at("decoders")) read(part);
  } else if (type == "ByteLevel") {
    writes_bytes_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Metaspace") {
    replaced_.emplace_back(decoder.at("replacement").get<std::string>(), " ");
    strips_space_ |=
        member_or(decoder, "prepend_scheme", "always") != "never" && member_or(decoder, "add_prefix_space", true);
  } else if (type == "Replace" && decoder.at("pattern").contains("String")) {
    replaced_.emplace_back(decoder["pattern"]["String"].get<std::string>(),
                           decoder.at("content").get<std::string>());
    if (replaced_.back().first.empty()) throw file_.unsupported("decoder", decoder);
  } else if (type == "Strip" && decoder.at("content") == " " && decoder.at("stop") == 0) {
    strips_space_ |= decoder.at("start") != 0;
  } else if (type != "Fuse") {
    throw file_.unsupported("decoder", decoder);
  }
}

std::string& TokenTexts::place(int32_t id) {
  if (id < 0 || id >= kMaxId) throw file_.inconsistent(fmt::format("token id {}, need 0 to {}", id, kMaxId - 1));
  if (texts_.size() <= static_cast<size_t>(id)) texts_.resize(static_cast<size_t>(id) + 1);
  return texts_[static_cast<size_t>(id)];
}

void TokenTexts::set(int32_t id, std::string_view token) {
  std::string& text = place(id);
  text = token;
  if (const auto bytes = writes_bytes_ ? bytes_of_written(token) : std::nullopt) text = *bytes;
  if (writes_bytes_) return;
  if (const auto byte = byte_fallback_ ? byte_of(token) : std::nullopt) {
    text = *byte;
    return;
  }
  for (const auto& [what, by] : replaced_)
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
      text.replace(at, what.size(), by);
}

void TokenTexts::set_added(int32_t id, const std::string& text) { place(id) = text; }

std::string TokenTexts::join(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids)
    if (0 <= id && id < num_ids()) text += texts_[static_cast<size_t>(id)];
  if (strips_space_ && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

}  // namespace trine
