// Text to token ids and back: bytes, SentencePiece models (LLaMA-2), byte-level BPE from tokenizer.json (LLaMA-3).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trine {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;  // "bytes", or the file
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> begin_id() const = 0;  // begin of text
  virtual std::optional<int32_t> end_id() const = 0;    // end of document
  // Appends the ids of `text`; adds neither begin nor end. Any bytes are allowed, valid UTF-8 or not.
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
  // Ids that are no text (control tokens, ids past the vocabulary) give nothing.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  // XXH3 (64 bits) of the definition: equal hashes give equal ids.
  virtual uint64_t hash() const = 0;

  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> ids;
    encode(text, ids);
    return ids;
  }
};

// `spec`: "bytes", a SentencePiece model, a tokenizer.json, or a folder that holds one of the two (tokenizer.json,
// tokenizer.model). The kind of a file is seen from its contents. DataError if it is missing, broken or of a kind
// that is not supported.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

// Bytes 0-255, 256 begin of text, 257 end of document, 258 padding.
inline constexpr int32_t kByteVocab = 259, kByteBegin = 256, kByteEnd = 257, kBytePadding = 258;
std::unique_ptr<Tokenizer> make_byte_tokenizer();
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::filesystem::path& file);
std::unique_ptr<Tokenizer> make_bpe_tokenizer(const std::filesystem::path& file);

}  // namespace trine
