#include "data/bpe_model.h"

#include <algorithm>

#include "data/utf8.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr int32_t kMaxId = 1 << 24;

bool flag(const Json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && !it->is_null() && it->get<bool>();
}

}  // namespace

BpeModel::BpeModel(const Json& model, const TokenizerFile& file) {
  if (member_or(model, "type", "BPE") != "BPE") throw file.unsupported("model.type", model["type"]);
  file.require_unset(model, {"dropout", "continuing_subword_prefix", "end_of_word_suffix"});
  ignore_merges_ = flag(model, "ignore_merges");
  byte_fallback_ = flag(model, "byte_fallback");
  fuse_unknown_ = flag(model, "fuse_unk");

  id_of_low_character_.fill(-1);
  fallback_.fill(-1);
  for (const auto& [token, json_id] : model.at("vocab").get_ref<const Json::object_t&>()) {
    const auto id = json_id.get<int32_t>();
    if (id < 0 || id >= kMaxId) throw file.inconsistent(fmt::format("token id {}, need 0 to {}", id, kMaxId - 1));
    if (token_of_id_.size() <= static_cast<size_t>(id)) token_of_id_.resize(static_cast<size_t>(id) + 1);
    token_of_id_[static_cast<size_t>(id)] = token;
    id_of_token_.emplace(token, id);
    if (token.empty()) continue;
    const CodePoint c = first_code_point(token);
    if (c.num_bytes != token.size()) continue;
    c.value < id_of_low_character_.size() ? id_of_low_character_[c.value] = id : id_of_character_[c.value] = id;
  }
  if (byte_fallback_)
    for (size_t byte = 0; byte < 256; ++byte) fallback_[byte] = id_of(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  if (const auto unknown = model.find("unk_token"); unknown != model.end() && !unknown->is_null()) {
    const auto id = id_of(unknown->get<std::string>());
    if (!id) throw file.inconsistent(fmt::format("unk_token {} is not in the vocabulary", unknown->dump()));
    unknown_ = *id;
  }
  read_merges(model.at("merges"), file);
}

void BpeModel::read_merges(const Json& merges, const TokenizerFile& file) {
  const auto need = [&](const std::string& token) {
    const auto id = id_of(token);
    if (!id) throw file.inconsistent(fmt::format("a merge needs the token \"{}\"", token));
    return *id;
  };
  for (const Json& merge : merges) {  // "a b" in older files, ["a", "b"] since tokenizers 0.20
    std::string left, right;
    if (merge.is_array()) {
      left = merge.at(0).get<std::string>(), right = merge.at(1).get<std::string>();
    } else {
      const auto& both = merge.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == std::string::npos) throw file.inconsistent(fmt::format("merge \"{}\" has no space", both));
      left = both.substr(0, space), right = both.substr(space + 1);
    }
    merged_.push_back(need(left + right));
    merges_.add(need(left), need(right), merged_.back());
  }
}

std::optional<int32_t> BpeModel::id_of(std::string_view token) const {
  const auto it = id_of_token_.find(token);
  return it == id_of_token_.end() ? std::nullopt : std::optional(it->second);
}

int32_t BpeModel::id_of_character(uint32_t code_point) const {
  if (code_point < id_of_low_character_.size()) return id_of_low_character_[code_point];
  const auto it = id_of_character_.find(code_point);
  return it == id_of_character_.end() ? -1 : it->second;
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (ignore_merges_)
    if (const auto whole = id_of(piece)) return out.push_back(*whole);
  std::vector<int32_t> ids;
  ids.reserve(piece.size());
  bool unknown = false;  // one waits: several become one if fuse_unk is set (merge_word() of tokenizers)
  for (size_t at = 0, length = 0; at < piece.size(); at += length) {
    const CodePoint c = first_code_point(piece.substr(at));
    length = c.num_bytes;
    const std::string_view bytes = piece.substr(at, length);
    const auto has_fallback = [&](char byte) { return fallback_[static_cast<unsigned char>(byte)] >= 0; };
    if (const int32_t id = id_of_character(c.value); id >= 0) {
      if (std::exchange(unknown, false)) ids.push_back(unknown_);
      ids.push_back(id);
    } else if (byte_fallback_ && std::ranges::all_of(bytes, has_fallback)) {
      for (const char byte : bytes) ids.push_back(fallback_[static_cast<unsigned char>(byte)]);
    } else if (unknown_ >= 0) {
      if (unknown && !fuse_unknown_) ids.push_back(unknown_);
      unknown = true;
    }
  }
  if (unknown) ids.push_back(unknown_);
  merges_.apply(ids);
  out.insert(out.end(), ids.begin(), ids.end());
}

bool BpeModel::can_cut_before(std::string_view c) const {
  if (ignore_merges_ || !id_of(c)) return false;
  return std::ranges::none_of(merged_, [&](int32_t id) {
    // Behind the characters c that the token may begin with, there is none.
    std::string_view rest = token_of_id_[static_cast<size_t>(id)];
    while (rest.starts_with(c)) rest.remove_prefix(c.size());
    return rest.find(c) != std::string_view::npos;
  });
}

}  // namespace trine
