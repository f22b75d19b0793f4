#include <sentencepiece_processor.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "data/tokenizer.h"

namespace trine {
namespace {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::filesystem::path& path) : path_(path) {
    const MappedFile file(path);
    const std::string_view model(reinterpret_cast<const char*>(file.bytes().data()), file.size());
    hash_ = XXH3_64bits(model.data(), model.size());
    const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
    if (!status.ok() || processor_.GetPieceSize() <= 0) {
      throw DataError(
          fmt::format("[tokenizer] {}: no SentencePiece model ({}), need the .model file that spm_train "
                      "wrote. Fetch it again, or give --tokenizer bytes.",
                      path.string(), status.ok() ? "it has no pieces" : status.ToString()));
    }
  }

  std::string name() const override { return path_.string(); }
  int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::optional<int32_t> begin_id() const override { return optional(processor_.bos_id()); }
  std::optional<int32_t> end_id() const override { return optional(processor_.eos_id()); }
  void encode(std::string_view text, std::vector<int32_t>& out) const override {
    std::vector<int> ids;
    const auto status = processor_.Encode({text.data(), text.size()}, &ids);
    if (!status.ok()) throw DataError(fmt::format("[tokenizer] {}: {}", path_.string(), status.ToString()));
    out.insert(out.end(), ids.begin(), ids.end());
  }
  std::string decode(std::span<const int32_t> ids) const override {
    std::vector<int> known;
    for (int32_t id : ids) {
      if (0 <= id && id < vocab_size()) known.push_back(id);
    }
    std::string text;
    const auto status = processor_.Decode(known, &text);
    if (!status.ok()) throw DataError(fmt::format("[tokenizer] {}: {}", path_.string(), status.ToString()));
    return text;
  }
  uint64_t hash() const override { return hash_; }

 private:
  static std::optional<int32_t> optional(int id) { return id < 0 ? std::nullopt : std::optional<int32_t>(id); }

  std::filesystem::path path_;
  sentencepiece::SentencePieceProcessor processor_;
  uint64_t hash_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::filesystem::path& file) {
  return std::make_unique<SentencePieceTokenizer>(file);
}

}  // namespace trine
