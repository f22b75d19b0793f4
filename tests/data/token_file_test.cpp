#include "data/token_file.h"

#include <gtest/gtest.h>
#include <numeric>
#include <sys/stat.h>

#include "tests/data/token_files.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::llm_c_file;
using testing::megatron_index;
using testing::packed;
using testing::ScratchFolder;
using testing::write_file;
using testing::write_megatron;

const std::vector<int64_t> kTokens = {5, 0, 258, 7, 7, 100, 3, 257, 1, 2};
const std::vector<int64_t> kLengths = {4, 1, 5};

std::vector<int64_t> all_tokens(const TokenFile& file, int64_t vocab_size = 1'000'000) {
  std::vector<int32_t> out(static_cast<size_t>(file.size()), -1);
  file.read(0, file.size(), vocab_size, out.data());
  return {out.begin(), out.end()};
}

TEST(TokenFile, ReadsEveryTypeOfMegatronByPrefixBinAndIdx) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "a", kTokens, kLengths, 8);
  write_megatron<int32_t>(folder / "b", kTokens, kLengths, 4);
  write_megatron<int64_t>(folder / "c", kTokens, kLengths, 5);
  for (const char* name : {"a", "b", "c"}) {
    for (const char* suffix : {"", ".bin", ".idx"}) {
      const TokenFile file(folder / (std::string(name) + suffix));
      EXPECT_EQ(all_tokens(file), kTokens) << name << suffix;
      EXPECT_EQ(file.num_documents(), 3);
    }
  }
}

TEST(TokenFile, ReadsBothKindsOfLlmC) {
  const ScratchFolder folder;
  const std::vector<int64_t> large = {128255, 0, 70000, 65535, 65536};
  write_file(folder / "gpt2.bin", llm_c_file<uint16_t>(20240520, 1, kTokens));
  write_file(folder / "llama3.bin", llm_c_file<uint32_t>(20240801, 7, large));
  EXPECT_EQ(all_tokens(TokenFile(folder / "gpt2.bin")), kTokens);
  EXPECT_EQ(all_tokens(TokenFile(folder / "gpt2")), kTokens);
  EXPECT_EQ(all_tokens(TokenFile(folder / "llama3.bin")), large);
}

TEST(TokenFile, AnIndexBesideItWinsOverContentsThatLookLikeLlmC) {
  const ScratchFolder folder;
  const std::vector<int64_t> tokens = {20240520, 1, 3};  // as i32 these are the first bytes of a llm.c file
  write_megatron<int32_t>(folder / "a", tokens, {3}, 4);
  EXPECT_EQ(all_tokens(TokenFile(folder / "a.bin"), 1 << 30), tokens);
}

TEST(TokenFile, ReadsAnyRange) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "a", kTokens, kLengths, 8);
  const TokenFile file(folder / "a");
  std::vector<int32_t> out(4, -1);
  file.read(6, 3, 259, out.data());
  EXPECT_EQ(out, (std::vector<int32_t>{3, 257, 1, -1}));
  file.read(10, 0, 259, out.data());
  EXPECT_THROW(file.read(8, 3, 259, out.data()), CheckError);
  EXPECT_THROW(file.read(-1, 1, 259, out.data()), CheckError);
}

TEST(TokenFile, RefusesATokenOutsideTheVocabularyWithFileAndOffset) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "a", kTokens, kLengths, 8);
  write_megatron<int32_t>(folder / "negative", {1, -2}, {2}, 4);
  write_file(folder / "l.bin", llm_c_file<uint32_t>(20240801, 7, {1, 2, 4'000'000'000}));
  expect_error(ExitCode::kData, {"a.bin", "token 2 at byte 4 is 258", "0 to 257"},
               [&] { TokenFile(folder / "a").check_all(258); });
  EXPECT_NO_THROW(TokenFile(folder / "a").check_all(259));
  expect_error(ExitCode::kData, {"negative.bin", "byte 4 is -2"},
               [&] { TokenFile(folder / "negative").check_all(9); });
  expect_error(ExitCode::kData, {"l.bin", "byte 1032 is 4000000000"},
               [&] { TokenFile(folder / "l.bin").check_all(9); });
  expect_error(ExitCode::kData, {"a.bin"}, [&] { TokenStream({folder / "a"}, 258); });
}

TEST(TokenFile, SaysWhatIsWrongWithAFile) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "good", kTokens, kLengths, 8);
  const std::string index = megatron_index(kLengths, 8, 2), bin = packed<uint16_t>(kTokens);
  const auto open = [&](const std::string& name) { return [&, name] { TokenFile(folder / name); }; };

  expect_error(ExitCode::kData, {"absent", "no such file", "prepare_data"}, open("absent"));
  write_file(folder / "text.txt", "This is plain text.");
  expect_error(ExitCode::kData, {"text.txt", "This is plai", "prepare_data"}, open("text.txt"));
  write_file(folder / "empty.bin", "");
  expect_error(ExitCode::kData, {"empty.bin", "empty"}, open("empty.bin"));
  std::filesystem::create_directory(folder / "folder");
  expect_error(ExitCode::kData, {"no regular file"}, open("folder"));
  write_file(folder / "p-train.idx", index);
  expect_error(ExitCode::kData, {"p-train"}, open("p"));
  write_file(folder / "alone.idx", index);
  expect_error(ExitCode::kData, {"alone.bin", "no such file"}, open("alone"));
  write_file(folder / "short.idx", index);
  write_file(folder / "short.bin", bin.substr(0, 18));
  expect_error(ExitCode::kData, {"short.bin", "18 bytes", "describes 20"}, open("short"));
  write_file(folder / "cut.idx", index.substr(0, 60));
  write_file(folder / "cut.bin", bin);
  expect_error(ExitCode::kData, {"cut.idx", "60 bytes"}, open("cut.bin"));
  write_file(folder / "foreign.idx", "TNTIDX\0\0 an old format");
  write_file(folder / "foreign.bin", bin);
  expect_error(ExitCode::kData, {"foreign.idx", "TNTIDX"}, open("foreign"));
  write_file(folder / "float.idx", megatron_index(kLengths, 7, 4));
  expect_error(ExitCode::kData, {"float.idx", "type 7"}, open("float"));
  write_file(folder / "none.idx", megatron_index({}, 8, 2));
  write_file(folder / "none.bin", "");
  expect_error(ExitCode::kData, {"none.bin", "no tokens"}, open("none"));
  write_file(folder / "v2.bin", llm_c_file<uint16_t>(20240520, 2, kTokens));
  expect_error(ExitCode::kData, {"v2.bin", "version 2"}, open("v2.bin"));
  write_file(folder / "l.bin", llm_c_file<uint16_t>(20240520, 1, kTokens) + "xx");
  expect_error(ExitCode::kData, {"l.bin", "1046 bytes", "need 1044"}, open("l.bin"));
}

TEST(TokenFile, RefusesAnIndexWhoseSequencesDoNotLieSideBySide) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "a", kTokens, kLengths, 8);
  std::string index = megatron_index(kLengths, 8, 2);
  const size_t second_pointer = 34 + 3 * 4 + 8;
  index[second_pointer] = 6;
  write_file(folder / "a.idx", index);
  expect_error(ExitCode::kData, {"a.idx", "sequence 1 begins at byte 6, need 8"}, [&] { TokenFile(folder / "a"); });
  index = megatron_index(kLengths, 8, 2);
  index[index.size() - 8] = 4;  // the last document index: 4 of 3 sequences
  write_file(folder / "a.idx", index);
  expect_error(ExitCode::kData, {"a.idx", "document index 3 is 4"}, [&] { TokenFile(folder / "a"); });
}

// Whatever a file holds, opening and reading it ends in tokens below the vocabulary or in a DataError.
void open_and_read(const std::filesystem::path& path, int64_t& accepted) {
  try {
    const TokenFile file(path);
    for (int64_t token : all_tokens(file, 300)) ASSERT_TRUE(0 <= token && token < 300);
    ++accepted;
  } catch (const DataError&) {
  }
}

TEST(TokenFile, DamagedFilesNeverCrash) {
  const ScratchFolder folder;
  int64_t accepted = 0;
  write_megatron<uint16_t>(folder / "a", kTokens, kLengths, 8);
  testing::for_each_damage(megatron_index(kLengths, 8, 2), [&](const std::string& bad) {
    write_file(folder / "a.idx", bad);
    open_and_read(folder / "a", accepted);
  });
  testing::for_each_damage(llm_c_file<uint16_t>(20240520, 1, kTokens), [&](const std::string& bad) {
    write_file(folder / "l.bin", bad);
    open_and_read(folder / "l.bin", accepted);
  });
  EXPECT_GT(accepted, 0);  // unused header bytes and tokens may change without harm
}

TEST(TokenFile, AFileThatIsCutWhileItIsReadIsAnError) {
  const ScratchFolder folder;
  const std::vector<int64_t> many(100'000, 5);
  write_megatron<uint16_t>(folder / "a", many, {100'000}, 8);
  const TokenFile file(folder / "a");
  EXPECT_EQ(all_tokens(file), many);
  std::filesystem::resize_file(folder / "a.bin", 1000);
  std::vector<int32_t> out(500);
  file.read(0, 500, 9, out.data());
  expect_error(ExitCode::kData, {"a.bin", "ends at byte 1000", "cut"}, [&] { file.read(1, 500, 9, out.data()); });
}

TEST(TokenFile, APathThatCannotBeFollowedIsNotTakenForMissing) {
  const ScratchFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  const std::string message = expect_error(ExitCode::kData, {"loop"}, [&] { TokenFile(folder / "loop"); });
  EXPECT_EQ(message.find("no such file"), std::string::npos) << message;
  ASSERT_EQ(::mkfifo((folder / "pipe.bin").c_str(), 0600), 0);
  expect_error(ExitCode::kData, {"pipe.bin", "no regular file"}, [&] { TokenFile(folder / "pipe.bin"); });
}

TEST(TokenStream, JoinsFilesInTheGivenOrder) {
  const ScratchFolder folder;
  write_megatron<uint16_t>(folder / "a", {1, 2, 3}, {3}, 8);
  write_file(folder / "b.bin", llm_c_file<uint32_t>(20240801, 7, {4}));
  write_megatron<int32_t>(folder / "c", {5, 6, 7, 8}, {2, 2}, 4);
  const TokenStream stream({folder / "c", folder / "a", folder / "b.bin"}, 9);
  const std::vector<int32_t> expected = {5, 6, 7, 8, 1, 2, 3, 4};
  ASSERT_EQ(stream.size(), 8);
  for (int64_t begin = 0; begin <= 8; ++begin) {
    for (int64_t count = 0; begin + count <= 8; ++count) {
      std::vector<int32_t> out(static_cast<size_t>(count), -1);
      stream.read(begin, count, out.data());
      EXPECT_EQ(out, std::vector<int32_t>(expected.begin() + begin, expected.begin() + begin + count));
    }
  }
  EXPECT_EQ(stream.describe(), "c.bin + 2 more");
  int32_t out;
  EXPECT_THROW(stream.read(8, 1, &out), CheckError);
}

}  // namespace
}  // namespace trine
