// Tokens back to text: tokenizer.json's decoder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer_json.h"

namespace trine {

class TokenTexts {
 public:
  // `decoder`: ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip or a Sequence of them, or null. DataError
  // for others. `writes_bytes`: tokens are written as byte-level BPE does.
  TokenTexts(const nlohmann::json& decoder, bool writes_bytes, const TokenizerFile& file);

  void set(int32_t id, std::string_view token);         // of the vocabulary, as its file writes it
  void set_added(int32_t id, const std::string& text);  // as it is
  int32_t num_ids() const { return static_cast<int32_t>(texts_.size()); }
  // Ids without a text give nothing. Bytes that make no character stay as they are.
  std::string join(std::span<const int32_t> ids) const;

 private:
  void read(const nlohmann::json& decoder);
  std::string& place(int32_t id);

  const TokenizerFile& file_;
  bool writes_bytes_ = false, byte_fallback_ = false, strips_space_ = false;
  std::vector<std::pair<std::string, std::string>> replaced_;
  std::vector<std::string> texts_;
};

}  // namespace trine
