#include <map>
#include <sentencepiece_processor.h>
#include <xxhash.h>

#include "base/error.h"
#include "base/input_file.h"
#include "data/tokenizer.h"

namespace trine {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, as pieces write it

// The last value of each field of a message in Protocol Buffers' encoding. Empty where it is broken, which the
// library has seen before.
struct Fields {
  std::map<uint64_t, uint64_t> numbers;
  std::map<uint64_t, std::string_view> texts;

  explicit Fields(std::string_view message) {
    while (!message.empty()) {
      const uint64_t key = varint(message), field = key >> 3;
      switch (key & 7) {
        case 0:
          numbers[field] = varint(message);
          break;
        case 1:
          message.remove_prefix(std::min<size_t>(8, message.size()));
          break;
        case 2: {
          const size_t size = std::min<size_t>(varint(message), message.size());
          texts[field] = message.substr(0, size);
          message.remove_prefix(size);
          break;
        }
        case 5:
          message.remove_prefix(std::min<size_t>(4, message.size()));
          break;
        default:
          return;
      }
    }
  }
  uint64_t number(uint64_t field, uint64_t otherwise) const {
    const auto it = numbers.find(field);
    return it == numbers.end() ? otherwise : it->second;
  }
  std::string_view text(uint64_t field) const {
    const auto it = texts.find(field);
    return it == texts.end() ? "" : it->second;
  }

 private:
  static uint64_t varint(std::string_view& message) {
    uint64_t value = 0;
    for (int shift = 0; !message.empty() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(message[0]);
      message.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) break;
    }
    return value;
  }
};

class SentencePieceTokenizer final : public Tokenizer {
 public:
  explicit SentencePieceTokenizer(const std::filesystem::path& path) : path_(path) {
    const std::string model = read_text_file(path);
    hash_ = XXH3_64bits(model.data(), model.size());
    const auto status = processor_.LoadFromSerializedProto({model.data(), model.size()});
    if (!status.ok() || processor_.GetPieceSize() <= 0) {
      throw DataError(
          fmt::format("[tokenizer] {}: no SentencePiece model ({}), need the .model file that spm_train "
                      "wrote. Fetch it again, or give --tokenizer bytes.",
                      path.string(), status.ok() ? "it has no pieces" : status.ToString()));
    }
    if (!keeps_words_apart(model)) return;
    // A repeated message is merged with the first: normalizer_spec { add_dummy_prefix: false }.
    const std::string without_prefix = std::string(model) + "\x1a\x02\x18" + '\0';
    can_cut_ = rest_.LoadFromSerializedProto(without_prefix).ok();
  }

  std::string name() const override { return path_.string(); }
  int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::optional<int32_t> id_of(std::string_view token) const override {
    const int id = processor_.PieceToId({token.data(), token.size()});
    return 0 <= id && id < vocab_size() && processor_.IdToPiece(id) == token ? std::optional(id) : std::nullopt;
  }
  OwnMarks own_marks() const override {
    return {.prefix = {}, .begin = optional(processor_.bos_id()), .end = optional(processor_.eos_id())};
  }
  size_t encode_part(std::string_view text, Part part, std::vector<int32_t>& out) const override {
    if (!part.last) text = text.substr(0, can_cut_ ? word_cut(text) : 0);
    std::vector<int> ids;
    const auto status = (part.first ? processor_ : rest_).Encode({text.data(), text.size()}, &ids);
    if (!status.ok()) throw DataError(fmt::format("[tokenizer] {}: {}", path_.string(), status.ToString()));
    out.insert(out.end(), ids.begin(), ids.end());
    return text.size();
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

  // True if text may be cut in front of a space behind a visible ASCII character: a space is a character like
  // others for the normalizer, and no piece that is merged has one behind another character. Unigram models weigh a
  // whole text in f32, so the same pieces elsewhere may round to others: they are never cut.
  bool keeps_words_apart(std::string_view serialized) const {
    const Fields model(serialized), trainer(model.text(2)), normalizer(model.text(3));
    constexpr uint64_t kBpe = 2;
    const bool plain_spaces =
        trainer.number(24, 0) == 0 && normalizer.number(4, 1) == 0 && normalizer.number(5, 1) == 1;
    if (trainer.number(3, 1) != kBpe || !plain_spaces || !normalizer.text(2).empty() || !id_of(kSpace))
      return false;
    for (int id = 0; id < vocab_size(); ++id) {
      std::string_view piece = processor_.IdToPiece(id);
      while (piece.starts_with(kSpace)) piece.remove_prefix(kSpace.size());
      if (piece.find(kSpace) != std::string_view::npos) return false;
    }
    return true;
  }

  static size_t word_cut(std::string_view text) {
    for (size_t at = text.size(); at-- > 1;)
      if (text[at] == ' ' && text[at - 1] > ' ' && text[at - 1] <= '~') return at;
    return 0;
  }

  std::filesystem::path path_;
  sentencepiece::SentencePieceProcessor processor_, rest_;  // of a text's beginning, and of what follows a cut
  bool can_cut_ = false;
  uint64_t hash_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::filesystem::path& file) {
  return std::make_unique<SentencePieceTokenizer>(file);
}

}  // namespace trine
