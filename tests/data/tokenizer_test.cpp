#include "data/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "data/utf8.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::expect_error;
using testing::fixture;
using testing::read_file;
using testing::ScratchFolder;
using testing::write_file;

std::string tokenizer_file(const std::string& name) { return fixture("tokenizers/" + name).string(); }

TEST(ByteTokenizer, IsTheBytesThemselves) {
  const auto tokenizer = make_tokenizer("bytes");
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  const std::vector<int32_t> ids = tokenizer->encode(text);
  for (int32_t i = 0; i < 256; ++i) EXPECT_EQ(ids[static_cast<size_t>(i)], i);
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{256, 72, 105, 257, 258, 259, -1}), "Hi");
  EXPECT_EQ(tokenizer->vocab_size(), 259);
  EXPECT_EQ(tokenizer->begin_id(), 256);
  EXPECT_EQ(tokenizer->end_id(), 257);
}

// expected.json comes from Hugging Face's tokenizers and Google's sentencepiece packages
// (tests/data/tokenizers/make.py).
class Expected : public ::testing::TestWithParam<const char*> {};

TEST_P(Expected, GivesTheIdsOfTheOriginalLibrary) {
  const auto tokenizer = make_tokenizer(tokenizer_file(GetParam()));
  const json cases = json::parse(read_file(tokenizer_file("expected.json"))).at(GetParam());
  ASSERT_GT(cases.size(), 20u);
  for (const json& one : cases) {
    const auto text = one.at("text").get<std::string>();
    EXPECT_EQ(tokenizer->encode(text), one.at("ids").get<std::vector<int32_t>>()) << text;
  }
}
INSTANTIATE_TEST_SUITE_P(Files, Expected,
                         ::testing::Values("bpe.json", "bpe_gpt2.json", "bpe.model", "unigram.model"));

TEST(BpeTokenizer, EveryTextComesBackWholeEvenIfItIsNoUtf8) {
  const auto tokenizer = make_tokenizer(tokenizer_file("bpe.json"));
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  for (const std::string& text :
       {bytes, std::string("caf\xc3"), std::string("\xff\xfe ok \xe2\x82"), std::string("Größe\n\n")}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(BpeTokenizer, ALongRunIsNoTrap) {
  const auto tokenizer = make_tokenizer(tokenizer_file("bpe.json"));
  for (const char c : {'a', ' ', '\n', '.'}) {
    const std::string text(300'000, c);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(BpeTokenizer, KnowsItsSpecialTokens) {
  const auto tokenizer = make_tokenizer(tokenizer_file("bpe.json"));
  EXPECT_EQ(tokenizer->vocab_size(), 704);
  EXPECT_EQ(tokenizer->begin_id(), 701);
  EXPECT_EQ(tokenizer->end_id(), 702);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{701, 700, 702, 9999, -5}), "quux");
}

TEST(SentencePieceTokenizer, KnowsItsSpecialTokens) {
  const auto tokenizer = make_tokenizer(tokenizer_file("bpe.model"));
  EXPECT_EQ(tokenizer->vocab_size(), 500);
  EXPECT_EQ(tokenizer->begin_id(), 1);
  EXPECT_EQ(tokenizer->end_id(), 2);
  const std::string text = "Hello, naïve world!";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{1, 2, 500, -1}), "");
}

TEST(Tokenizer, HashesTellDefinitionsApart) {
  std::set<uint64_t> hashes = {make_tokenizer("bytes")->hash()};
  for (const char* name : {"bpe.json", "bpe_gpt2.json", "bpe.model", "unigram.model"}) {
    hashes.insert(make_tokenizer(tokenizer_file(name))->hash());
    EXPECT_EQ(make_tokenizer(tokenizer_file(name))->hash(), make_tokenizer(tokenizer_file(name))->hash());
  }
  EXPECT_EQ(hashes.size(), 5u);
}

TEST(Tokenizer, AFolderStandsForTheFileInIt) {
  const ScratchFolder folder;
  expect_error(ExitCode::kData, {"no tokenizer.json"}, [&] { make_tokenizer(folder.path().string()); });
  std::filesystem::copy_file(tokenizer_file("bpe.model"), folder / "tokenizer.model");
  EXPECT_EQ(make_tokenizer(folder.path().string())->vocab_size(), 500);
}

TEST(Tokenizer, SaysWhatIsWrongWithAFile) {
  const ScratchFolder folder;
  const std::string path = (folder / "t").string();
  const auto load = [&] { make_tokenizer(path); };
  expect_error(ExitCode::kData, {path, "no such file"}, load);
  write_file(path, "");
  expect_error(ExitCode::kData, {path, "SentencePiece"}, load);
  write_file(path, "something else");
  expect_error(ExitCode::kData, {path, "SentencePiece"}, load);
  write_file(path, "{\"model\": ");
  expect_error(ExitCode::kData, {path, "JSON"}, load);
  write_file(path, "{\"model\": {}}");
  expect_error(ExitCode::kData, {path, "vocab"}, load);
}

// Each change would give other ids if it were ignored.
TEST(BpeTokenizer, RefusesByNameWhatItDoesNotImplement) {
  const ScratchFolder folder;
  const std::string path = (folder / "tokenizer.json").string();
  const json good = json::parse(read_file(tokenizer_file("bpe.json")));
  const auto refuse = [&](const std::vector<std::string>& words, auto change) {
    json bad = good;
    change(bad);
    write_file(path, bad.dump());
    expect_error(ExitCode::kData, words, [&] { make_tokenizer(path); });
  };
  refuse({"normalizer"}, [](json& j) { j["normalizer"] = {{"type", "NFC"}}; });
  refuse({"model.type", "Unigram"}, [](json& j) { j["model"]["type"] = "Unigram"; });
  refuse({"byte_fallback"}, [](json& j) { j["model"]["byte_fallback"] = true; });
  refuse({"dropout"}, [](json& j) { j["model"]["dropout"] = 0.1; });
  refuse({"pre_tokenizer", "Metaspace"}, [](json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}}; });
  refuse({"Split"}, [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; });
  refuse({"invert"}, [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; });
  refuse({"add_prefix_space"}, [](json& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; });
  refuse({"pattern"}, [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(unclosed"; });
  refuse({"lstrip"}, [](json& j) { j["added_tokens"][0]["lstrip"] = true; });
  refuse({"no token for byte 97"}, [](json& j) { j["model"]["vocab"].erase("a"); });
  refuse({"a merge needs the token"}, [](json& j) { j["model"]["merges"].push_back({"zzzz", "a"}); });
  refuse({"token id -1"}, [](json& j) { j["model"]["vocab"]["a"] = -1; });
  refuse({"token id 2000000000"}, [](json& j) { j["added_tokens"][0]["id"] = 2000000000; });
}

TEST(Tokenizer, DamagedFilesNeverCrash) {
  const ScratchFolder folder;
  const std::string path = (folder / "t").string();
  for (const char* name : {"bpe_gpt2.json", "bpe.model"}) {
    const std::string good = read_file(tokenizer_file(name));
    int tried = 0;
    testing::for_each_damage(good, [&](const std::string& bad) {
      if (++tried % 5 != 0) return;  // each try parses the whole file
      write_file(path, bad);
      try {
        make_tokenizer(path)->encode("Some text, 123.");
      } catch (const DataError&) {
      }
    });
  }
}

TEST(Utf8, ValidPrefixFollowsRfc3629) {
  EXPECT_EQ(valid_utf8_prefix("aé€😀"), 10u);
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82", "\xe2\x28\xa1"}) {
    EXPECT_EQ(valid_utf8_prefix(std::string("ok") + bad), 2u) << bad;
  }
  const std::pair<std::string, uint32_t> ends[] = {{std::string(1, '\0'), 0},
                                                   {"\x7f", 0x7f},
                                                   {"\xc2\x80", 0x80},
                                                   {"\xdf\xbf", 0x7ff},
                                                   {"\xe0\xa0\x80", 0x800},
                                                   {"\xef\xbf\xbf", 0xffff},
                                                   {"\xf0\x90\x80\x80", 0x10000},
                                                   {"\xf4\x8f\xbf\xbf", 0x10ffff}};
  for (const auto& [text, code_point] : ends) {
    EXPECT_EQ(first_code_point(text).value, code_point);
    EXPECT_EQ(valid_utf8_prefix(text), text.size());
  }
}

}  // namespace
}  // namespace trine
