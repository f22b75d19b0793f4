#include "data/tokenizer.h"

#include <xxhash.h>

#include "base/error.h"
#include "base/file_system.h"
#include "base/hub_name.h"
#include "base/input_file.h"
#include "data/text_marks.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "bytes"; }
  int32_t vocab_size() const override { return kByteVocab; }
  std::optional<int32_t> id_of(std::string_view token) const override {
    return token.size() == 1 ? std::optional<int32_t>(static_cast<unsigned char>(token[0])) : std::nullopt;
  }
  OwnMarks own_marks() const override {
    return {.prefix = std::vector<int32_t>(), .begin = kByteBegin, .end = kByteEnd};
  }
  size_t encode_part(std::string_view text, Part, std::vector<int32_t>& out) const override {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    out.insert(out.end(), bytes, bytes + text.size());
    return text.size();
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

// What people give for a tokenizer and that is another file: a sentence, or nothing.
std::string known_mistake(std::string_view text) {
  if (text.starts_with("version https://git-lfs"))
    return "this is Git LFS's note about a file that was not fetched. Run: git lfs pull";
  // Lines of base64 and a number.
  const std::string_view line = text.substr(0, text.find('\n')), token = line.substr(0, line.find(' '));
  const auto all_of = [](std::string_view characters, std::string_view allowed) {
    return !characters.empty() && characters.find_first_not_of(allowed) == std::string_view::npos;
  };
  constexpr std::string_view digits = "0123456789",
                             base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  if (token.size() < line.size() && token.size() % 4 == 0 && all_of(token, base64) &&
      all_of(line.substr(token.size() + 1, line.find_last_not_of('\r') - token.size()), digits))
    return "this is tiktoken's list of tokens (LLaMA-3's original/tokenizer.model), which lacks pattern and "
           "special tokens. Give the tokenizer.json of the same model";
  return "";
}

std::unique_ptr<Tokenizer> make_from_file(const fs::path& path) {
  const std::string text = read_text_file(path);
  if (const std::string mistake = known_mistake(text); !mistake.empty())
    throw DataError(fmt::format("[tokenizer] {}: {}.", path.string(), mistake));
  const size_t first = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
  const bool is_json = first != std::string_view::npos && text[first] == '{';
  return is_json ? make_hugging_face_tokenizer(path) : make_sentencepiece_tokenizer(path);
}

constexpr const char *kJson = "tokenizer.json", *kModel = "tokenizer.model";

std::unique_ptr<Tokenizer> make_from_folder(const fs::path& folder) {
  const bool has_json = is_file(folder / kJson), has_model = is_file(folder / kModel);
  if (!has_json || !has_model) return make_from_file(folder / (has_json ? kJson : kModel));
  try {
    return make_from_file(folder / kJson);
  } catch (const IoError&) {
    throw;
  } catch (const DataError& json_error) {
    try {
      auto tokenizer = make_from_file(folder / kModel);
      tokenizer->set_note(
          fmt::format("{} is used in place of {}: {}", tokenizer->name(), kJson, json_error.what()));
      return tokenizer;
    } catch (const DataError&) {
      throw json_error;
    }
  }
}

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() {
  auto tokenizer = std::make_unique<ByteTokenizer>();
  tokenizer->set_marks({.prefix = {}, .begin = kByteBegin, .ends = {kByteEnd}});
  return tokenizer;
}

bool has_tokenizer(const fs::path& folder) { return is_file(folder / kJson) || is_file(folder / kModel); }

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "bytes") return make_byte_tokenizer();
  const fs::path path = spec;
  const bool folder = is_folder(path);
  if (folder && !has_tokenizer(path))
    throw DataError(
        fmt::format("[tokenizer] {}: no tokenizer.json and no tokenizer.model in this folder. Add the "
                    "model's tokenizer, or give --tokenizer bytes or a file.",
                    spec));
  if (!folder && !is_there(path))
    throw DataError(
        fmt::format("[tokenizer] {}: no such file. "
                    "Give --tokenizer bytes, a SentencePiece .model or a tokenizer.json.{}",
                    spec, hub_hint(spec)));
  std::unique_ptr<Tokenizer> tokenizer = folder ? make_from_folder(path) : make_from_file(path);
  if (tokenizer->name() == "bytes") return tokenizer;
  tokenizer->set_marks(read_text_marks(*tokenizer, fs::path(tokenizer->name()).parent_path()));
  return tokenizer;
}

}  // namespace trine
