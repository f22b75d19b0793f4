// Which tokenizer a run has, and with it begin and end of text, where the flags leave it to folders.
#include "plan/config/folder_facts.h"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "plan/config/flags.h"
#include "tests/test_data.h"

namespace trine {
namespace {

const std::string kModel = test_data() + "/hf_llama/head_dim";  // ids 1 and 2, a vocabulary of 320

FolderFacts facts() {
  return {
      .saved_config = [](const std::string& folder) -> std::optional<nlohmann::json> {
        if (folder != "run") return std::nullopt;
        return nlohmann::json{{"model", "tiny"}, {"vocab", 300}, {"bos", 5}, {"eos", "6"}, {"tokenizer", "theirs"}};
      },
      .has_tokenizer = [](const std::string& folder) { return folder == kModel; },
      .text_ids = [](const std::string& tokenizer) -> TextIds {
        if (tokenizer == "bytes") return {256, {257}};
        return tokenizer == "silent" ? TextIds{} : TextIds{7, {8, 9, 100'000}};
      }};
}

Config parse(std::vector<std::string> args) {
  std::vector<const char*> argv = {"train_llama"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return std::get<Config>(
      parse_train_flags(static_cast<int>(argv.size()), argv.data(), {1, 1, 2, "20250131-235959"}, "", facts()));
}

void expect(std::vector<std::string> args, const std::string& tokenizer, int begin, const std::vector<int>& ends) {
  const Config config = parse(args);
  const std::string line = testing::PrintToString(args);
  EXPECT_EQ(config.tokenizer, tokenizer) << line;
  EXPECT_EQ(config.model.bos, begin) << line;
  EXPECT_EQ(config.model.eos, ends) << line;
}

TEST(FolderFacts, WeightsAndModelsBringTheTokenizerBesideThem) {
  expect({"--load-weights", kModel}, kModel, 7, {8, 9});
  expect({"--load-weights", kModel, "--model", "tiny", "--vocab", "320"}, kModel, 7, {8, 9});
  expect({"--model", kModel}, kModel, 7, {8, 9});
  expect({"--model", kModel + "/config.json"}, kModel, 7, {8, 9});
  expect({"--load-weights", kModel, "--tokenizer", "bytes"}, "bytes", 256, {257});
  expect({"--load-weights", "run"}, "theirs", 5, {6});
  expect({"--load-weights", "run", "--model", "tiny"}, "theirs", 7, {8, 9});
  expect({"--load-weights", "run", "--tokenizer", "mine"}, "mine", 7, {8, 9});
}

TEST(FolderFacts, APresetsIdsAreNotThoseOfAnotherTokenizer) {
  expect({}, "bytes", 256, {257});
  expect({"--model", "llama2-7b"}, "bytes", 1, {2});
  expect({"--tokenizer", "mine"}, "mine", 7, {8, 9});
  expect({"--tokenizer", "mine", "--vocab", "9"}, "mine", 7, {8});  // ids of the vocabulary only
  expect({"--tokenizer", "bytes", "--model", "llama2-7b"}, "bytes", 256, {257});
  expect({"--tokenizer", "mine", "--bos", "-1", "--eos", "3,4"}, "mine", -1, {3, 4});
  expect({"--tokenizer", "silent"}, "silent", 256, {257});
}

}  // namespace
}  // namespace trine
