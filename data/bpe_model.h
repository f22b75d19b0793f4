// The vocabulary and the merges of tokenizer.json's BPE model: a piece of text to token ids.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe.h"
#include "data/tokenizer_json.h"

namespace trine {

class BpeModel {
 public:
  // `model`: of tokenizer.json. DataError for members that change the ids and are not known.
  BpeModel(const nlohmann::json& model, const TokenizerFile& file);

  // Appends the ids of a piece as the pre-tokenizer writes it. Characters without a token become their bytes'
  // tokens <0x00> ... (byte_fallback), the unknown token, or nothing, as the file says. REQUIRES: valid UTF-8.
  void encode(std::string_view piece, std::vector<int32_t>& out) const;
  // Of a byte that is no part of a character.
  std::optional<int32_t> id_of_fallback(unsigned char byte) const { return optional(fallback_[byte]); }

  std::optional<int32_t> id_of(std::string_view token) const;
  int32_t num_ids() const { return static_cast<int32_t>(token_of_id_.size()); }
  bool merges() const { return !merged_.empty(); }  // anything at all
  // As the file writes them; "" for ids that have none.
  const std::vector<std::string>& tokens() const { return token_of_id_; }
  // True if a piece may be cut in front of `c` where another character stands before it: no merge reaches across.
  bool can_cut_before(std::string_view c) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  static std::optional<int32_t> optional(int32_t id) { return id < 0 ? std::nullopt : std::optional(id); }
  void read_merges(const nlohmann::json& merges, const TokenizerFile& file);
  int32_t id_of_character(uint32_t code_point) const;

  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> id_of_token_;
  std::vector<std::string> token_of_id_;
  std::array<int32_t, 0x180> id_of_low_character_{};  // by code point, -1: none
  std::unordered_map<uint32_t, int32_t> id_of_character_;
  std::array<int32_t, 256> fallback_{};  // -1: none
  BpeMerges merges_;
  std::vector<int32_t> merged_;  // ids that a merge makes
  int32_t unknown_ = -1;
  bool byte_fallback_ = false, fuse_unknown_ = false;
  bool ignore_merges_ = false;  // a piece that is a token as a whole is that token, whatever the merges say
};

}  // namespace trine
