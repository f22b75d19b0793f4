#include "data/byte_tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "data/tokenizer.h"

namespace trine {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kBegin = "<|begin_of_text|>";
constexpr const char* kEnd = "<|end_of_text|>";
constexpr const char* kPadding = "<|padding|>";

// The file writes bytes as printable characters (bytes_to_unicode() of GPT-2): those that are printable in Latin-1
// stand for themselves, the others for 256, 257, ... in order. In UTF-8.
std::vector<std::string> byte_characters() {
  std::vector<std::string> characters;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const uint32_t point = printable ? byte : next++;
    characters.push_back(
        point < 0x80 ? std::string(1, static_cast<char>(point))
                     : std::string{static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 0x3f))});
  }
  return characters;
}

Json special(int id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
}

}  // namespace

std::vector<std::pair<std::string, std::string>> hugging_face_byte_tokenizer() {
  Json vocab = Json::object();
  for (const std::string& character : byte_characters()) {
    const size_t id = vocab.size();
    vocab[character] = id;
  }
  const Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", {special(kByteBegin, kBegin), special(kByteEnd, kEnd), special(kBytePadding, kPadding)}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level()},
      {"post_processor", nullptr},
      {"decoder", byte_level()},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"vocab", vocab},
        {"merges", Json::array()}}},
  };
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"bos_token", kBegin},
                       {"eos_token", kEnd},
                       {"pad_token", kPadding},
                       {"split_special_tokens", true},
                       {"clean_up_tokenization_spaces", false}};
  return {{"tokenizer.json", tokenizer.dump(1) + "\n"}, {"tokenizer_config.json", config.dump(1) + "\n"}};
}

}  // namespace trine
