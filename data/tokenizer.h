// Text to token ids and back: bytes, SentencePiece models (LLaMA-2), BPE from tokenizer.json
// (LLaMA-2, LLaMA-3, GPT-2).
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

// What begins and ends a text.
struct TextMarks {
  std::vector<int32_t> prefix;   // what a prompt begins with, as transformers encodes it; often `begin`, or nothing
  std::optional<int32_t> begin;  // begin of text
  std::vector<int32_t> ends;     // any of them ends a text; the first ends a document
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;  // "bytes", or the file
  virtual int32_t vocab_size() const = 0;
  // Of a token as the tokenizer's file writes it.
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
  // What the tokenizer's file alone says.
  struct OwnMarks {
    std::optional<std::vector<int32_t>> prefix = {};  // nothing: it does not say
    std::optional<int32_t> begin = {}, end = {};
  };
  virtual OwnMarks own_marks() const = 0;

  // A text in parts: appends the ids of a beginning of `text` that are the same whatever follows, and returns its
  // length; all of it if `last`. The next part begins there, and is not `first`. 0: it takes more text to know.
  // The ids of the parts are those of the whole. Adds neither begin nor end.
  // Any bytes are allowed, valid UTF-8 or not.
  struct Part {
    bool first = true, last = true;
  };
  virtual size_t encode_part(std::string_view text, Part part, std::vector<int32_t>& out) const = 0;
  // Ids that are no text (control tokens, ids past the vocabulary) give nothing.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  // XXH3 (64 bits) of the definition: equal hashes give equal ids.
  virtual uint64_t hash() const = 0;

  void encode(std::string_view text, std::vector<int32_t>& out) const { encode_part(text, {}, out); }
  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> ids;
    encode(text, ids);
    return ids;
  }
  // From all files that say it (data/text_marks.h).
  const TextMarks& marks() const { return marks_; }
  void set_marks(TextMarks marks) { marks_ = std::move(marks); }
  // What a user should know about it: a sentence, or nothing.
  const std::string& note() const { return note_; }
  void set_note(std::string note) { note_ = std::move(note); }

 private:
  TextMarks marks_;
  std::string note_;
};

// `spec`: "bytes", a SentencePiece model, a tokenizer.json, or a folder: there tokenizer.json, or tokenizer.model
// where that is missing or of a kind that is not supported. The kind of a file is seen from its contents. DataError
// if it is missing, broken or of a kind that is not supported.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);
bool has_tokenizer(const std::filesystem::path& folder);  // that make_tokenizer() would find

// Bytes 0-255, 256 begin of text, 257 end of document, 258 padding.
inline constexpr int32_t kByteVocab = 259, kByteBegin = 256, kByteEnd = 257, kBytePadding = 258;
std::unique_ptr<Tokenizer> make_byte_tokenizer();

// For make_tokenizer(): without marks().
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::filesystem::path& file);
std::unique_ptr<Tokenizer> make_hugging_face_tokenizer(const std::filesystem::path& file);

}  // namespace trine
