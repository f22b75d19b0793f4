#include "data/prepare.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "data/datasets.h"
#include "data/default_text.h"
#include "data/token_file.h"
#include "data/token_file_writer.h"
#include "tests/data/token_files.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::megatron_index;
using testing::read_file;
using testing::ScratchFolder;
using testing::write_file;

std::vector<int32_t> tokens_of(const std::filesystem::path& prefix) {
  const TokenFile file(prefix);
  std::vector<int32_t> out(static_cast<size_t>(file.size()));
  file.read(0, file.size(), 1 << 24, out.data());
  return out;
}

std::vector<int32_t> bytes_and_end(const std::vector<std::string>& documents) {
  std::vector<int32_t> ids;
  for (const std::string& text : documents) {
    for (char c : text) ids.push_back(static_cast<unsigned char>(c));
    ids.push_back(257);
  }
  return ids;
}

PreparedInfo prepare_bytes(const std::vector<std::string>& texts, const std::filesystem::path& out,
                           double valid = 0, std::FILE* standard_input = nullptr) {
  return prepare({texts, out, valid}, *make_byte_tokenizer(), standard_input);
}

TEST(Prepare, TextLinesAndStandardInputBecomeDocuments) {
  const ScratchFolder folder;
  write_file(folder / "a.txt", "first\nfile");
  write_file(folder / "b.jsonl",
             "{\"text\": \"one\\n\\u00e9\", \"id\": 1}\r\n\n{\"text\": \"\"}\n{\"text\": \"two\"}");
  write_file(folder / "in", "piped");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen((folder / "in").c_str(), "rb"), std::fclose);
  const auto info = prepare_bytes({(folder / "a.txt").string(), (folder / "b.jsonl").string(), "-"},
                                  folder / "out/p", 0, in.get());
  EXPECT_EQ(tokens_of(folder / "out/p-train"), bytes_and_end({"first\nfile", "one\n\xc3\xa9", "two", "piped"}));
  EXPECT_EQ(info.num_documents, 4);
  EXPECT_EQ(info.train_tokens, 28);
  EXPECT_EQ(info.valid_tokens, 0);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "out"))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"p-train.bin", "p-train.idx", "p.json"}));
}

TEST(Prepare, WritesMegatronsFormatByteForByte) {
  const ScratchFolder folder;
  write_file(folder / "a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n");
  prepare_bytes({(folder / "a.jsonl").string()}, folder / "p");
  EXPECT_EQ(read_file(folder / "p-train.bin"), std::string("a\0b\0\1\1c\0\1\1", 10));
  EXPECT_EQ(read_file(folder / "p-train.idx"), megatron_index({3, 2}, 8, 2));
}

TEST(Prepare, SplitsTheLastFractionOfTheTokens) {
  const ScratchFolder folder;
  write_file(folder / "a.txt", "abcdefg");      // 8 tokens
  write_file(folder / "b.txt", "ABCDEFGHIJK");  // 12
  const auto info = prepare_bytes({(folder / "a.txt").string(), (folder / "b.txt").string()}, folder / "p", 0.5);
  const std::vector<int32_t> all = bytes_and_end({"abcdefg", "ABCDEFGHIJK"});
  EXPECT_EQ(tokens_of(folder / "p-train"), std::vector<int32_t>(all.begin(), all.begin() + 10));
  EXPECT_EQ(tokens_of(folder / "p-valid"), std::vector<int32_t>(all.begin() + 10, all.end()));
  EXPECT_EQ(read_file(folder / "p-train.idx"), megatron_index({8, 2}, 8, 2));
  EXPECT_EQ(read_file(folder / "p-valid.idx"), megatron_index({10}, 8, 2));
  EXPECT_EQ(info.train_tokens, 10);
  EXPECT_EQ(info.valid_tokens, 10);
  prepare_bytes({(folder / "a.txt").string()}, folder / "p", 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "p-valid.bin"));  // a split of another text must not stay behind
}

TEST(Prepare, ALargeVocabularyNeedsFourBytes) {
  const ScratchFolder folder;
  for (const int64_t vocab : {65535, 65536, 128256}) {
    TokenFileWriter writer(folder / "p", vocab);
    const std::vector<int32_t> ids = {0, static_cast<int32_t>(vocab) - 1, 5};
    writer.append(ids);
    writer.finish(0);
    EXPECT_EQ(tokens_of(folder / "p-train"), ids);
    EXPECT_EQ(TokenFile(folder / "p-train").type(), vocab <= 65535 ? TokenType::kU16 : TokenType::kI32);
  }
  EXPECT_THROW(TokenFileWriter(folder / "q", 10).append(std::vector<int32_t>{10}), CheckError);
}

TEST(Prepare, ADocumentTooLongForTheIndexBecomesSeveral) {
  const ScratchFolder folder;
  TokenFileWriter writer(folder / "p", 100, /*max_sequence=*/4);
  writer.append(std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8});
  writer.end_document();
  writer.append(std::vector<int32_t>{9});
  writer.end_document();
  EXPECT_EQ(writer.num_documents(), 2);
  writer.finish(0);
  EXPECT_EQ(read_file(folder / "p-train.idx"), megatron_index({4, 4, 1}, 8, 2));
}

TEST(Prepare, PiecesOfAnyTokenizerJoinToTheWholeDocument) {
  const ScratchFolder folder;
  const auto bpe = make_tokenizer(testing::fixture("tokenizers/bpe.json").string());
  std::string text;
  for (int i = 0; text.size() < (size_t{5} << 20); ++i) {
    text += fmt::format("Line {} of a long naïve text, isn't it?{}", i, i % 7 == 0 ? "\n\n\n   " : "\n");
  }
  write_file(folder / "a.txt", text);
  prepare({{(folder / "a.txt").string()}, folder / "p", 0}, *bpe, nullptr);
  std::vector<int32_t> whole = bpe->encode(text);
  whole.push_back(bpe->marks().ends.front());
  EXPECT_TRUE(tokens_of(folder / "p-train") == whole);

  const std::string no_lines = [] {
    std::string euros;
    for (int i = 0; i < 1'500'000; ++i) euros += "€";
    return euros;
  }();
  write_file(folder / "b.txt", no_lines);
  prepare({{(folder / "b.txt").string()}, folder / "q", 0}, *bpe, nullptr);
  EXPECT_TRUE(bpe->decode(tokens_of(folder / "q-train")) == no_lines);
}

TEST(Prepare, SaysWhatIsWrongWithTheText) {
  const ScratchFolder folder;
  const auto run = [&](const std::string& name) {
    return [&, name] { prepare_bytes({(folder / name).string()}, folder / "p"); };
  };
  expect_error(ExitCode::kData, {"absent.txt", "No such file"}, run("absent.txt"));
  expect_error(ExitCode::kData, {"directory"}, run("."));
  write_file(folder / "a.jsonl", "{\"text\": \"fine\"}\n\n{\"text\": 5}\n");
  expect_error(ExitCode::kData, {"a.jsonl:3:", "\"text\""}, run("a.jsonl"));
  write_file(folder / "b.jsonl", "{\"text\": \"fine\"}\n{\"text\": \"cut");
  expect_error(ExitCode::kData, {"b.jsonl:2:"}, run("b.jsonl"));
  write_file(folder / "c.jsonl", "{\"body\": \"x\"}\n");
  expect_error(ExitCode::kData, {"c.jsonl:1:", "text"}, run("c.jsonl"));
  write_file(folder / "d.jsonl", "[1]\n");
  expect_error(ExitCode::kData, {"d.jsonl:1:"}, run("d.jsonl"));
  write_file(folder / "e.txt", "");
  expect_error(ExitCode::kData, {"empty"}, run("e.txt"));
  write_file(folder / "f.txt", "\x1f\x8b\x08 compressed");
  expect_error(ExitCode::kData, {"f.txt", "compressed", "damaged"}, run("f.txt"));
  write_file(folder / "g.txt", "\x28\xb5\x2f\xfd and so on");
  expect_error(ExitCode::kData, {"g.txt", "zstd", "zstdcat"}, run("g.txt"));
  write_file(folder / "h.txt", std::string("\xff\xfe{\0", 4));
  expect_error(ExitCode::kData, {"h.txt", "UTF-16", "--format text"}, run("h.txt"));
  for (const std::string& name : folder.names()) EXPECT_FALSE(name.starts_with("p")) << name;
}

// A gzip file of one stored block (RFC 1951, 1952). REQUIRES: less than 64 KiB.
std::string gzip_of(const std::string& text) {
  const auto bytes = [](uint32_t value, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += static_cast<char>(value >> 8 * i);
    return out;
  };
  uint32_t crc = ~0u;
  for (const char c : text) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0);
  }
  const auto size = static_cast<uint32_t>(text.size());
  return std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff\x01", 11) + bytes(size, 2) + bytes(~size, 2) + text +
         bytes(~crc, 4) + bytes(size, 4);
}

std::vector<int32_t> prepare_as(const std::string& name, const std::string& contents, PrepareRequest request = {}) {
  const ScratchFolder folder;
  write_file(folder / name, contents);
  request.texts = {(folder / name).string()};
  request.out = folder / "p", request.valid_fraction = 0;
  prepare(request, *make_byte_tokenizer(), nullptr);
  return tokens_of(folder / "p-train");
}

TEST(PrepareFormat, JsonLinesAreSeenUnderAnyName) {
  const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\", \"id\": [1, {}]}\n";
  const std::vector<int32_t> want = bytes_and_end({"one", "two"});
  for (const char* name : {"c.jsonl", "c.json", "c.ndjson", "C.JSONL", "c.txt", "c", "c.jsonl.gz", "c.JSON.GZ"}) {
    EXPECT_EQ(prepare_as(name, lines), want) << name;
    EXPECT_EQ(prepare_as(name, gzip_of(lines)), want) << name;
    EXPECT_EQ(prepare_as(name, gzip_of(lines.substr(0, 5)) + gzip_of(lines.substr(5))), want) << name;
    EXPECT_EQ(prepare_as(name, lines, {.format = TextFormat::kText}), bytes_and_end({lines})) << name;
  }
  EXPECT_EQ(prepare_as("c", "\xef\xbb\xbf\n\n  " + lines), want);
  EXPECT_EQ(prepare_as("c", lines.substr(0, lines.size() - 1)), want);  // no newline at the end
  // Longer than what is looked at, with and without an end of the first line in it.
  const std::string longer(3 << 20, 'x');
  EXPECT_EQ(prepare_as("c", "{\"text\": \"" + longer + "\"}\n" + lines), bytes_and_end({longer, "one", "two"}));
  EXPECT_EQ(prepare_as("c", lines + "{\"text\": \"" + longer + "\"}"), bytes_and_end({"one", "two", longer}));
}

TEST(PrepareFormat, TextThatOnlyResemblesJsonStaysText) {
  for (const std::string text : {"{\\bf Chapter} one", "[1] Knuth, The Art\n[2] more", "[\"Hello\", he said", "{",
                                 "[", "\"text\"", "plain\n{\"text\": 1}\nplain\n", "{ x: 1 }", "123\n456\n"})
    EXPECT_EQ(prepare_as("a.txt", text), bytes_and_end({text})) << text;
}

TEST(PrepareFormat, JsonInAnotherFormIsRefusedUnlessItIsWanted) {
  for (const std::string text : {"{\n  \"text\": \"a\"\n}\n", "[{\"text\": \"a\"}, {\"text\": \"b\"}]",
                                 "[\n  {\n \"text\": \"a\"}\n]\n", "[\"one\", \"two\"]\n"}) {
    for (const char* name : {"a.json", "a.txt"})
      expect_error(ExitCode::kData, {name, "JSON", "--format text", "jq"}, [&] { prepare_as(name, text); });
    EXPECT_EQ(prepare_as("a.json", text, {.format = TextFormat::kText}), bytes_and_end({text}));
  }
  expect_error(ExitCode::kData, {"a.json:1:", "\"text\"", "body, id", "--format text"},
               [] { prepare_as("a.json", "{\"id\": 1, \"body\": \"a\"}\n{\"id\": 2, \"body\": \"b\"}\n"); });
}

TEST(PrepareFormat, BadLinesAreNamedOrCounted) {
  const ScratchFolder folder;
  const std::string lines =
      "garbage\n{\"text\": \"one\"}\n{\"text\": 5}\n\n[]\n{\"text\": \"\xff\"}\n{\"text\": \"two\"}\n{\"no\": 1}";
  expect_error(ExitCode::kData, {"a:1:", "no JSON", "--skip-bad-lines"}, [&] { prepare_as("a", lines); });
  write_file(folder / "a", lines);
  PrepareRequest request{{(folder / "a").string()}, folder / "p", 0};
  request.skip_bad_lines = true;
  const PreparedInfo info = prepare(request, *make_byte_tokenizer(), nullptr);
  EXPECT_EQ(info.skipped_lines, 5);
  EXPECT_NE(info.first_skipped.find("a:1: this is no JSON"), std::string::npos) << info.first_skipped;
  EXPECT_EQ(tokens_of(folder / "p-train"), bytes_and_end({"one", "two"}));
  EXPECT_NE(read_file(folder / "p.json").find("\"skipped_lines\": 5"), std::string::npos);
  write_file(folder / "a", "{\"no\": 1}\n");
  expect_error(ExitCode::kData, {"every line is bad", "a:1:"},
               [&] { prepare(request, *make_byte_tokenizer(), nullptr); });
}

TEST(PrepareFormat, APackedFileThatWasCutOrChangedIsAnError) {
  const std::string packed = gzip_of("some text");
  for (size_t size = 2; size < packed.size(); ++size)
    expect_error(ExitCode::kData, {"a.gz", "compressed"}, [&] { prepare_as("a.gz", packed.substr(0, size)); });
  std::string changed = packed;
  changed[17] ^= 1;
  expect_error(ExitCode::kData, {"a.gz", "damaged"}, [&] { prepare_as("a.gz", changed); });
  expect_error(ExitCode::kData, {"a.gz", "damaged"}, [&] { prepare_as("a.gz", packed + "more"); });
}

TEST(Prepare, AFullDiskLeavesNothingUnderTheFinalNames) {
  const ScratchFolder folder;
  write_file(folder / "old.txt", "old");
  prepare_bytes({(folder / "old.txt").string()}, folder / "p");
  const std::string before = read_file(folder / "p-train.bin");
  write_file(folder / "new.txt", std::string(3'000'000, 'x'));
  rlimit unlimited{};
  getrlimit(RLIMIT_FSIZE, &unlimited);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 4 << 20, .rlim_max = unlimited.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  expect_error(ExitCode::kData, {"p-train.bin", "write failed", "File too large"},
               [&] { prepare_bytes({(folder / "new.txt").string()}, folder / "p"); });
  setrlimit(RLIMIT_FSIZE, &unlimited);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(folder.names(),
            (std::vector<std::string>{"new.txt", "old.txt", "p-train.bin", "p-train.idx", "p.json"}));
  EXPECT_EQ(read_file(folder / "p-train.bin"), before);
}

TEST(Prepare, ReplacesOnlyWhatItWroteItself) {
  const ScratchFolder folder;
  write_file(folder / "text.txt", "a text");
  // Of its own, also one that was killed before the last file got its name.
  prepare_bytes({folder / "text.txt"}, folder / "own", 0.5);
  std::filesystem::remove(folder / "own.json");
  prepare_bytes({folder / "text.txt"}, folder / "own", 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "own-valid.bin"));
  EXPECT_EQ(prepare_bytes({folder / "text.txt"}, folder / "own", 0).train_tokens, 7);
  // tokenizer.json, package.json, config.json ...
  write_file(folder / "config.json", R"({"model_type": "llama"})");
  write_file(folder / "notes-valid.bin", "precious");
  write_file(folder / "damaged-train.idx", "MMID");
  std::filesystem::create_symlink("nowhere", folder / "link-train.bin");
  const auto before = folder.names();
  for (const auto& [prefix, file] : {std::pair{"config", "config.json"},
                                     {"notes", "notes-valid.bin"},
                                     {"damaged", "damaged-train.idx"},
                                     {"link", "link-train.bin"}})
    expect_error(ExitCode::kConfig, {"[--out]", file, "was not written by prepare_data"},
                 [&, prefix = prefix] { prepare_bytes({folder / "text.txt"}, folder / prefix); });
  EXPECT_EQ(folder.names(), before);
  EXPECT_EQ(read_file(folder / "config.json"), R"({"model_type": "llama"})");
}

TEST(Prepare, AFolderThatCannotBeWrittenIsNamed) {
  const ScratchFolder folder;
  write_file(folder / "file", "");
  write_file(folder / "a.txt", "a");
  expect_error(ExitCode::kData, {"file/p", "create failed"},
               [&] { prepare_bytes({(folder / "a.txt").string()}, folder / "file/p"); });
}

TEST(PreparedInfo, TheTrainerRefusesTokensOfAnotherTokenizer) {
  const ScratchFolder folder;
  write_file(folder / "a.txt", "some text");
  const auto info = prepare_bytes({(folder / "a.txt").string()}, folder / "p", 0.5);
  const auto bytes = make_byte_tokenizer(),
             other = make_tokenizer(testing::fixture("tokenizers/bpe.json").string());
  for (const char* name : {"p-train", "p-train.bin", "p-valid.idx"}) {
    EXPECT_EQ(find_prepared_info(folder / name), folder / "p.json");
    EXPECT_NO_THROW(check_prepared_with(folder / name, *bytes));
    expect_error(ExitCode::kConfig, {"bytes", "bpe.json", "259", "704"},
                 [&] { check_prepared_with(folder / name, *other); });
  }
  EXPECT_NO_THROW(check_prepared_with(folder / "elsewhere-train", *other));
  const PreparedInfo read = read_prepared_info(folder / "p.json");
  EXPECT_EQ(read.tokenizer_hash, bytes->hash());
  EXPECT_EQ(read.train_tokens, info.train_tokens);
  write_file(folder / "p.json", "{}");
  expect_error(ExitCode::kData, {"p.json", "tokenizer"}, [&] { check_prepared_with(folder / "p-train", *bytes); });
}

class DefaultText : public ::testing::Test {
 protected:
  DefaultText() {
    setenv("TRINE_DATA_DIR", folder_.path().c_str(), 1);
    write_file(folder_ / "jargon.txt", std::string(999, 'j'));
  }
  ~DefaultText() override { unsetenv("TRINE_DATA_DIR"); }
  ScratchFolder folder_;
};

TEST_F(DefaultText, IsOneDocumentWhoseLastTwentiethValidates) {
  const Datasets sets = open_datasets({.vocab_size = 259}, *make_byte_tokenizer());
  EXPECT_EQ(sets.train->size(), 950);
  ASSERT_NE(sets.valid, nullptr);
  EXPECT_EQ(sets.valid->size(), 50);
  int32_t last = 0;
  sets.valid->read(49, 1, &last);
  EXPECT_EQ(last, 257);
}

TEST_F(DefaultText, MayBeCompressed) {
  constexpr unsigned char gzip_of_hello[] = {0x1f, 0x8b, 8,    0,    0,    0,    0,    0,    2,
                                             0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86,
                                             0xa6, 0x10, 0x36, 0x05, 0,    0,    0};
  const std::string compressed(reinterpret_cast<const char*>(gzip_of_hello), sizeof gzip_of_hello);
  std::filesystem::remove(folder_ / "jargon.txt");
  write_file(folder_ / "jargon.txt.gz", compressed);
  EXPECT_EQ(find_default_text(), folder_ / "jargon.txt.gz");
  EXPECT_EQ(read_maybe_gzip(folder_ / "jargon.txt.gz"), "hello");
  write_file(folder_ / "jargon.txt.gz", compressed.substr(0, 20));
  expect_error(ExitCode::kData, {"jargon.txt.gz"}, [&] { default_tokens(*make_byte_tokenizer(), 259); });
  std::string wrong_sum = compressed;
  wrong_sum[18] ^= 1;
  write_file(folder_ / "jargon.txt.gz", wrong_sum);
  expect_error(ExitCode::kData, {"jargon.txt.gz"}, [&] { default_tokens(*make_byte_tokenizer(), 259); });
}

TEST_F(DefaultText, NeedsAModelThatHasItsVocabulary) {
  expect_error(ExitCode::kConfig, {"259", "97", "--vocab"},
               [] { open_datasets({.vocab_size = 97}, *make_byte_tokenizer()); });
  EXPECT_EQ(open_datasets({.vocab_size = 97, .random = true}, *make_byte_tokenizer()).valid, nullptr);
}

TEST(Datasets, FilesSplitAsTheTrainerSays) {
  const ScratchFolder folder;
  testing::write_megatron<uint16_t>(folder / "a", {1, 2, 3, 4, 5}, {5}, 8);
  testing::write_megatron<uint16_t>(folder / "b", {6, 7, 8, 9, 10}, {5}, 8);
  const auto tokenizer = make_byte_tokenizer();
  const auto sets =
      open_datasets({.data = {folder / "a", folder / "b"}, .valid_fraction = 0.2, .vocab_size = 11}, *tokenizer);
  EXPECT_EQ(sets.train->size(), 8);
  std::vector<int32_t> valid(2);
  sets.valid->read(0, 2, valid.data());
  EXPECT_EQ(valid, (std::vector<int32_t>{9, 10}));
  const auto two =
      open_datasets({.data = {folder / "a"}, .valid_data = folder / "b", .vocab_size = 11}, *tokenizer);
  EXPECT_EQ(two.train->size(), 5);
  EXPECT_EQ(two.valid->size(), 5);
  EXPECT_EQ(open_datasets({.data = {folder / "a"}, .vocab_size = 11}, *tokenizer).valid, nullptr);
  expect_error(ExitCode::kConfig, {"--valid-fraction is 1.5", "--valid-data and --valid-fraction"}, [&] {
    open_datasets({.data = {folder / "a"}, .valid_data = folder / "b", .valid_fraction = 1.5, .vocab_size = 11},
                  *tokenizer);
  });
}

TEST(Prepare, OutputsThatCannotBeLookedAtAreNotReplaced) {
  const ScratchFolder folder;
  expect_error(ExitCode::kData, {"File name too long"},
               [&] { require_own_outputs(folder / std::string(300, 'x')); });
}

}  // namespace
}  // namespace trine
