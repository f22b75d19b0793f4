#include "data/tokenizer.h"

#include <xxhash.h>

#include "base/error.h"
#include "base/mapped_file.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "bytes"; }
  int32_t vocab_size() const override { return kByteVocab; }
  std::optional<int32_t> begin_id() const override { return kByteBegin; }
  std::optional<int32_t> end_id() const override { return kByteEnd; }
  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    out.insert(out.end(), bytes, bytes + text.size());
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (int32_t id : ids) {
      if (0 <= id && id < 256) text += static_cast<char>(id);
    }
    return text;
  }
  uint64_t hash() const override {
    constexpr std::string_view definition = "bytes 0-255, 256 begin, 257 end, 258 padding";
    return XXH3_64bits(definition.data(), definition.size());
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "bytes") return make_byte_tokenizer();
  fs::path path = spec;
  if (fs::is_directory(path)) {
    for (const char* file : {"tokenizer.json", "tokenizer.model"}) {
      if (fs::exists(path / file)) return make_tokenizer((path / file).string());
    }
    throw DataError(
        fmt::format("[tokenizer] {}: no tokenizer.json and no tokenizer.model in this folder. Add the "
                    "model's tokenizer, or give --tokenizer bytes or a file.",
                    spec));
  }
  if (!fs::exists(path)) {
    throw DataError(
        fmt::format("[tokenizer] {}: no such file. Give --tokenizer bytes, a SentencePiece .model or a "
                    "tokenizer.json.",
                    spec));
  }
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.size());
  const size_t first = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  const bool is_json = first != std::string_view::npos && text[first] == '{';
  return is_json ? make_bpe_tokenizer(path) : make_sentencepiece_tokenizer(path);
}

}  // namespace trine
