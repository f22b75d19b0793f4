// The byte tokenizer as files, read back by our own reader of tokenizer.json: the same ids and bytes.
#include "data/byte_tokenizer_files.h"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "data/tokenizer.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

TEST(ByteTokenizerFiles, GiveTheSameIds) {
  const testing::ScratchFolder folder;
  const auto files = hugging_face_byte_tokenizer();
  for (const auto& [name, text] : files) std::ofstream(folder / name) << text;
  const auto bytes = make_byte_tokenizer(), read = make_tokenizer((folder / "tokenizer.json").string());
  EXPECT_EQ(read->vocab_size(), bytes->vocab_size());
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  for (const std::string& text :
       {all, std::string("It's  a\n\ttest, 12345 "), std::string("héllo ▁ 日本 🙂"), std::string()}) {
    EXPECT_EQ(read->encode(text), bytes->encode(text));
    EXPECT_EQ(read->decode(read->encode(text)), text);
  }
}

TEST(ByteTokenizerFiles, NameTheSpecialTokens) {
  const auto files = hugging_face_byte_tokenizer();
  const auto tokenizer = nlohmann::json::parse(files[0].second), config = nlohmann::json::parse(files[1].second);
  EXPECT_EQ(files[0].first, "tokenizer.json");
  EXPECT_EQ(files[1].first, "tokenizer_config.json");
  std::map<int, std::string> names;
  for (const auto& token : tokenizer["added_tokens"]) names[token["id"]] = token["content"];
  EXPECT_EQ(names, (std::map<int, std::string>{{kByteBegin, config["bos_token"]},
                                               {kByteEnd, config["eos_token"]},
                                               {kBytePadding, config["pad_token"]}}));
  EXPECT_EQ(tokenizer["model"]["vocab"]["A"], 65);
  EXPECT_EQ(tokenizer["model"]["vocab"]["Ġ"], 32);  // how GPT-2 writes a space
  EXPECT_EQ(tokenizer["model"]["vocab"]["ÿ"], 255);
}

}  // namespace
}  // namespace trine
