#include "data/tokenizer.h"

#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "data/pre_tokenizer.h"
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
  EXPECT_EQ(tokenizer->marks().begin, 256);
  EXPECT_EQ(tokenizer->marks().ends, (std::vector<int32_t>{257}));
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

// So that data and weights of a byte-level run stay together when its exported folder comes back.
TEST(ByteTokenizer, IsSeenInATokenizerJsonOfBytes) {
  const ScratchFolder folder;
  json definition = json::parse(read_file(tokenizer_file("bpe.json")));
  definition["model"]["vocab"] = json::object();
  for (int byte = 0; byte < 256; ++byte)
    definition["model"]["vocab"][std::string(written_byte(static_cast<unsigned char>(byte)))] = byte;
  definition["model"]["merges"] = json::array();
  for (const int i : {0, 1, 2}) definition["added_tokens"][i]["id"] = 256 + i;
  const auto make = [&] {
    write_file(folder / "tokenizer.json", definition.dump());
    return make_tokenizer(folder.path());
  };
  EXPECT_EQ(make()->hash(), make_byte_tokenizer()->hash());
  EXPECT_EQ(make()->marks().ends, std::vector<int32_t>{257});
  definition["model"]["vocab"]["a"] = 98, definition["model"]["vocab"]["b"] = 97;
  EXPECT_NE(make()->hash(), make_byte_tokenizer()->hash());
  EXPECT_EQ(make()->encode("ab"), (std::vector<int32_t>{98, 97}));
}

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
  EXPECT_EQ(tokenizer->marks().begin, 701);
  EXPECT_EQ(tokenizer->marks().ends, (std::vector<int32_t>{702}));
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{701, 700, 702, 9999, -5}), "quux");
}

TEST(SentencePieceTokenizer, KnowsItsSpecialTokens) {
  const auto tokenizer = make_tokenizer(tokenizer_file("bpe.model"));
  EXPECT_EQ(tokenizer->vocab_size(), 500);
  EXPECT_EQ(tokenizer->marks().begin, 1);
  EXPECT_EQ(tokenizer->marks().ends, (std::vector<int32_t>{2}));
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

TEST(Tokenizer, NamesWhatPeopleGiveForOne) {
  const ScratchFolder folder;
  const std::string path = (folder / "tokenizer.model").string();
  const auto load = [&] { make_tokenizer(path); };
  for (const char* list : {"IQ== 0\nIg== 1\nIw== 2\n", "IQ== 0", "IQ== 0\r\nIg== 1\r\n"}) {
    write_file(path, list);
    expect_error(ExitCode::kData, {path, "tiktoken", "tokenizer.json"}, load);
  }
  write_file(path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 499723\n");
  expect_error(ExitCode::kData, {path, "git lfs pull"}, load);
  write_file(path, "{\"a\": 0, \"b\": 1}");  // GPT-2's vocab.json
  expect_error(ExitCode::kData, {path, "no \"model\"", "tokenizer.json"}, load);
}

TEST(Tokenizer, AFolderWithBothFilesHasTheOneThatCanBeRead) {
  const ScratchFolder folder;
  const auto copy = [&](const char* from, const char* to) {
    std::filesystem::copy_file(tokenizer_file(from), folder / to,
                               std::filesystem::copy_options::overwrite_existing);
  };
  EXPECT_FALSE(has_tokenizer(folder.path()));
  copy("bpe.model", "tokenizer.model");
  copy("bpe.json", "tokenizer.json");
  EXPECT_TRUE(has_tokenizer(folder.path()));
  EXPECT_EQ(make_tokenizer(folder.path())->name(), folder / "tokenizer.json");
  json unigram = json::parse(read_file(tokenizer_file("bpe.json")));
  unigram["model"]["type"] = "Unigram";
  write_file(folder / "tokenizer.json", unigram.dump());
  const auto tokenizer = make_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->name(), folder / "tokenizer.model");
  EXPECT_NE(tokenizer->note().find("Unigram"), std::string::npos) << tokenizer->note();
  copy("expected.json", "tokenizer.model");
  expect_error(ExitCode::kData, {"tokenizer.json", "Unigram"}, [&] { make_tokenizer(folder.path()); });
}

TEST(BpeTokenizer, NullMembersAreAsIfTheyWereNotThere) {
  const ScratchFolder folder;
  const std::string path = (folder / "tokenizer.json").string(), text = "Some text, 123 <|endoftext|> more.";
  const json good = json::parse(read_file(tokenizer_file("bpe_gpt2.json")));
  const auto expected = make_tokenizer(tokenizer_file("bpe_gpt2.json"))->encode(text);
  const auto attempt = [&](const char* where, const char* member) {
    json null = good;
    null.at(json::json_pointer(where))[member] = nullptr;
    write_file(path, null.dump());
    EXPECT_EQ(make_tokenizer(path)->encode(text), expected) << where << " " << member;
  };
  for (const char* member : {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                             "fuse_unk", "byte_fallback", "ignore_merges"})
    attempt("/model", member);
  for (const char* member : {"trim_offsets", "use_regex"}) attempt("/pre_tokenizer", member);
  for (const char* member : {"trim_offsets", "use_regex", "add_prefix_space"}) attempt("/decoder", member);
  for (const char* member : {"single_word", "lstrip", "rstrip", "normalized"}) attempt("/added_tokens/0", member);
  for (const char* member : {"truncation", "padding", "normalizer", "post_processor", "version"})
    attempt("", member);
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
  refuse({"normalizer", "NFC"}, [](json& j) { j["normalizer"] = {{"type", "NFC"}}; });
  refuse({"model.type", "Unigram"}, [](json& j) { j["model"]["type"] = "Unigram"; });
  refuse({"dropout"}, [](json& j) { j["model"]["dropout"] = 0.1; });
  refuse({"end_of_word_suffix"}, [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; });
  refuse({"pre_tokenizer", "BertPreTokenizer"}, [](json& j) {
    j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  });
  refuse({"pre_tokenizer", "Sideways"},
         [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Sideways"; });
  refuse({"decoder", "WordPiece"}, [](json& j) { j["decoder"] = {{"type", "WordPiece"}}; });
  refuse({"pattern"}, [](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(unclosed"; });
  refuse({"unk_token"}, [](json& j) { j["model"]["unk_token"] = "<nothing>"; });
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

class Marks : public ::testing::Test {
 protected:
  Marks() { std::filesystem::copy_file(tokenizer_file("bpe.json"), folder_ / "tokenizer.json"); }
  void write(const char* name, const json& contents) const { write_file(folder_ / name, contents.dump()); }
  void change(const std::function<void(json&)>& f) const {
    json definition = json::parse(read_file(tokenizer_file("bpe.json")));
    f(definition);
    write("tokenizer.json", definition);
  }
  TextMarks marks() const { return make_tokenizer((folder_ / "tokenizer.json").string())->marks(); }
  void expect(const std::vector<int32_t>& prefix, int32_t begin, const std::vector<int32_t>& ends) const {
    const TextMarks found = marks();
    EXPECT_EQ(found.prefix, prefix);
    EXPECT_EQ(found.begin, begin);
    EXPECT_EQ(found.ends, ends);
  }
  ScratchFolder folder_;
};

// Each file is asked before the ones that were written earlier.
TEST_F(Marks, HaveOneOrderOfSources) {
  expect({701}, 701, {702});  // by their names in the file
  change([](json& j) {
    j["added_tokens"][0]["content"] = "<｜begin▁of▁sentence｜>";
    j["added_tokens"][1]["content"] = "[EOS]";
  });
  expect({701}, 701, {702});
  write("special_tokens_map.json", {{"bos_token", "a"}, {"eos_token", {{"content", "b"}}}});
  expect({64}, 64, {65});
  write("tokenizer_config.json", {{"bos_token", {{"content", "c"}}}, {"eos_token", "d"}});
  expect({66}, 66, {67});
  write("config.json", {{"bos_token_id", 5}, {"eos_token_id", 6}});
  expect({5}, 5, {6});
  write("generation_config.json", {{"bos_token_id", nullptr}, {"eos_token_id", {7, 8, -1, 704, 8000}}});
  expect({5}, 5, {7, 8});  // 704 and 8000 are no ids of this tokenizer
  write("generation_config.json", {{"bos_token_id", 9}});
  expect({9}, 9, {6});
}

// What a prompt begins with is what transformers puts there, whatever the begin of text is.
TEST_F(Marks, APromptBeginsAsInTransformers) {
  const json single = {{{"SpecialToken", {{"id", "x"}, {"type_id", 0}}}},
                       {{"SpecialToken", {{"id", "y"}, {"type_id", 0}}}},
                       {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                       {{"SpecialToken", {{"id", "y"}, {"type_id", 0}}}}};
  const json with = {{"type", "TemplateProcessing"},
                     {"single", single},
                     {"special_tokens", {{"x", {{"ids", {11}}}}, {"y", {{"ids", {12}}}}}}};
  json without = with;
  without["single"] = {{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const json byte_level = {{"type", "ByteLevel"}};
  change([&](json& j) { j["post_processor"] = {{"type", "Sequence"}, {"processors", {byte_level, with}}}; });
  expect({11, 12}, 12, {702});
  write("tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", "c"}});
  expect({11, 12}, 66, {702});
  write("tokenizer_config.json", {{"add_bos_token", true}, {"bos_token", "c"}});
  expect({66}, 66, {702});
  write("tokenizer_config.json", {{"add_bos_token", false}, {"bos_token", "c"}});
  expect({}, 66, {702});
  change([&](json& j) { j["post_processor"] = without; });
  write("tokenizer_config.json", {{"bos_token", "c"}});
  expect({}, 66, {702});
  change([&](json& j) { j["post_processor"] = byte_level; });  // it says nothing: the class decides
  write("tokenizer_config.json", {{"tokenizer_class", "LlamaTokenizerFast"}, {"bos_token", "c"}});
  expect({66}, 66, {702});
  write("tokenizer_config.json", {{"tokenizer_class", "GPT2Tokenizer"}, {"bos_token", "c"}});
  expect({}, 66, {702});
}

TEST_F(Marks, AreReadBesideASentencePieceModelToo) {
  std::filesystem::copy_file(tokenizer_file("bpe.model"), folder_ / "t.model");
  const auto marks = [&] { return make_tokenizer((folder_ / "t.model").string())->marks(); };
  EXPECT_EQ(marks().prefix, std::vector<int32_t>{1});
  EXPECT_EQ(marks().ends, std::vector<int32_t>{2});
  write("tokenizer_config.json", {{"add_bos_token", false}, {"eos_token", "<s>"}});
  EXPECT_EQ(marks().prefix, std::vector<int32_t>{});
  EXPECT_EQ(marks().begin, 1);
  EXPECT_EQ(marks().ends, std::vector<int32_t>{1});
  write_file(folder_ / "tokenizer_config.json", "{");
  expect_error(ExitCode::kData, {"tokenizer_config.json"}, marks);
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
