// Every kind of tokenizer.json gives the ids of Hugging Face's library, whole and in parts
// (tests/data/tokenizers/make_variants.py).
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>

#include "data/tokenizer.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::fixture;
using testing::read_file;
using testing::ScratchFolder;
using testing::write_file;

const json& variants() {
  static const json kVariants = json::parse(read_file(fixture("tokenizers/variants.json")));
  return kVariants;
}

// As make_variants.py says it.
json base_of_pieces() {
  json special = json::array(), merges = json::array(), vocab = json::object();
  std::vector<std::string> names = {"<unk>", "<s>", "</s>"};
  for (size_t id = 0; id < 3; ++id) special.push_back({{"id", id}, {"content", names[id]}, {"special", true}});
  for (int byte = 0; byte < 256; ++byte) names.push_back(fmt::format("<0x{:02X}>", byte));
  for (const json& piece : variants().at("pieces")) names.push_back(piece.get<std::string>());
  for (size_t id = 0; id < names.size(); ++id) vocab[names[id]] = id;
  for (size_t id = 259; id < names.size(); ++id) {
    std::vector<std::pair<int, int>> ways;
    for (size_t k = 1; k < names[id].size(); ++k) {
      const std::string left = names[id].substr(0, k), right = names[id].substr(k);
      if (vocab.contains(left) && vocab.contains(right)) ways.emplace_back(vocab[left], vocab[right]);
    }
    std::ranges::sort(ways);
    for (const auto& [left, right] : ways)
      merges.push_back({names[static_cast<size_t>(left)], names[static_cast<size_t>(right)]});
  }
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
             strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}},
             decoders = {replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip};
  return {{"added_tokens", special},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocab},
            {"merges", merges}}}};
}

std::unique_ptr<Tokenizer> make(const json& variant) {
  const ScratchFolder folder;
  json definition =
      variant["base"] == "pieces" ? base_of_pieces() : json::parse(read_file(fixture("tokenizers/bpe.json")));
  definition.merge_patch(variant["patch"]);
  write_file(folder / "tokenizer.json", definition.dump());
  return make_tokenizer((folder / "tokenizer.json").string());
}

class Variants : public ::testing::TestWithParam<size_t> {
 protected:
  const json& variant() const { return variants().at("variants").at(GetParam()); }
};

TEST_P(Variants, GiveTheIdsOfTheLibrary) {
  const auto tokenizer = make(variant());
  const json &texts = variants().at("texts"), &ids = variant().at("ids");
  ASSERT_EQ(texts.size(), ids.size());
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(tokenizer->encode(texts[i].get<std::string>()), ids[i].get<std::vector<int32_t>>())
        << variant()["name"] << ": " << texts[i];
}

// Texts with all that matters at a cut, put together at random, and read in parts of random sizes.
std::string random_text(std::mt19937& random, size_t size) {
  static const std::vector<std::string> kParts = {
      " ",        "  ",  "\n", "\n\n",       " \n",         "\t",    "word",         "a",   "longer",
      "12",       "345", "'s", "<mask>",     "<tool_call>", "[PAD]", "</tool_call>", "foo", " bar",
      "<s>",      "</s", "▁",  "é",          "日本",        "😀",     "\u00a0",       "...", "\xff",
      "\xe2\x82", "!",   "Z",  "<｜User｜>", "<|eot_id|>",  "Ã"};
  std::string text;
  while (text.size() < size) text += kParts[random() % kParts.size()];
  return text;
}

std::vector<int32_t> encode_in_parts(const Tokenizer& tokenizer, const std::string& text, std::mt19937& random,
                                     int& cuts) {
  std::vector<int32_t> ids;
  std::string pending;
  bool first = true;
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::min<size_t>(1 + random() % 40, text.size() - at);
    pending += text.substr(at, size);
    at += size;
    const size_t taken = tokenizer.encode_part(pending, {.first = first, .last = at == text.size()}, ids);
    EXPECT_LE(taken, pending.size());
    pending.erase(0, taken);
    if (taken > 0) first = false, cuts += at < text.size();
  }
  EXPECT_EQ(pending, "");
  return ids;
}

TEST_P(Variants, PartsGiveTheIdsOfTheWhole) {
  const auto tokenizer = make(variant());
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  int cuts = 0;
  for (int i = 0; i < 30; ++i) {
    const std::string text = random_text(random, 1 + random() % 700);
    ASSERT_EQ(encode_in_parts(*tokenizer, text, random, cuts), tokenizer->encode(text))
        << variant()["name"] << ": " << json(text).dump(-1, ' ', true, json::error_handler_t::replace);
  }
  // These cannot be cut anywhere that is sure: pieces that join others, patterns of a normalizer, and added tokens
  // that look around.
  const std::set<std::string> whole = {"digits contiguous",
                                       "prefix space",
                                       "whitespace",
                                       "falcon",
                                       "MergedWithPrevious",
                                       "MergedWithNext",
                                       "Contiguous",
                                       "inverted",
                                       "split at text",
                                       "added tokens",
                                       "llama2 tokens that strip",
                                       "metaspace tokens that strip",
                                       "spaces replaced"};
  EXPECT_EQ(cuts > 30, !whole.contains(variant()["name"])) << variant()["name"] << ": " << cuts;
}
INSTANTIATE_TEST_SUITE_P(OfTokenizerJson, Variants, ::testing::Range(size_t{0}, variants().at("variants").size()));

class PartsOfFiles : public ::testing::TestWithParam<const char*> {};

TEST_P(PartsOfFiles, GiveTheIdsOfTheWhole) {
  const auto tokenizer = make_tokenizer(fixture(std::string("tokenizers/") + GetParam()).string());
  std::mt19937 random(1);
  int cuts = 0;
  for (int i = 0; i < 50; ++i) {
    const std::string text = random_text(random, 1 + random() % 1000);
    ASSERT_EQ(encode_in_parts(*tokenizer, text, random, cuts), tokenizer->encode(text))
        << json(text).dump(-1, ' ', true, json::error_handler_t::replace);
  }
  EXPECT_EQ(cuts > 100, std::string(GetParam()) != "unigram.model") << cuts;
}
INSTANTIATE_TEST_SUITE_P(Files, PartsOfFiles,
                         ::testing::Values("bpe.json", "bpe_gpt2.json", "bpe.model", "unigram.model"));

TEST(TokenizerVariants, TextComesBack) {
  for (const json& variant : variants().at("variants")) {
    const std::string name = variant["name"];
    if (name != "llama2" && name != "smollm") continue;
    const auto tokenizer = make(variant);
    for (const std::string text : {"Hello, naïve world! 日本 😀", "  two  spaces\n\n", "caf\xc3", "\xff\xfe ok"})
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << name;
    const std::vector<int32_t> special = {0, 1, 2, 100000, -1};
    if (name != "smollm") {
      EXPECT_EQ(tokenizer->decode(special), "");
    }
  }
}

}  // namespace
}  // namespace trine
