// A model's folder brings its tokenizer, and with it begin and end of text, to every program.
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/programs/run.h"
#include "tests/test_data.h"

namespace trine {
namespace {

class TokenizerFolder : public ProgramTest {
 protected:
  // The model "deep" with a byte-level tokenizer.json of its 259 ids: bytes, their merges to "th", begin and end.
  TokenizerFolder() {
    const std::filesystem::path data = test_data();
    std::filesystem::copy(data / "hf_llama/deep", folder_ / "model");
    nlohmann::json json = read_json_file(data / "tokenizers/bpe.json");
    nlohmann::json vocab = nlohmann::json::object();
    for (const auto& [token, id] : json["model"]["vocab"].items())
      if (id < 256) vocab[token] = id;
    vocab["th"] = 256;
    json["model"]["vocab"] = vocab;
    json["model"]["merges"] = nlohmann::json::array({"t h"});
    json["added_tokens"].erase(2);
    for (const int i : {0, 1}) json["added_tokens"][i]["id"] = 257 + i;
    json["added_tokens"].push_back({{"id", 259}, {"content", "[PAD]"}, {"special", true}});  // behind the model's
    std::ofstream(folder_ / "model/tokenizer.json") << json;
    std::ofstream(folder_ / "model/generation_config.json")
        << R"({"bos_token_id": 257, "eos_token_id": [258, 10]})";
  }
  void expect(const std::string& command, int code, std::initializer_list<const char*> words) const {
    const Ran ran = in_folder("timeout 100 " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words)
      EXPECT_NE(ran.text.find(word), std::string::npos) << "no \"" << word << "\" in\n" << ran.text;
  }
  nlohmann::json config(const std::string& file) const { return read_json_file(folder_ / file); }
};

TEST_F(TokenizerFolder, IsTheSameInEveryProgram) {
  expect("prepare_data text.txt --tokenizer model --out own", 0, {});
  expect("prepare_data text.txt --out bytes", 0, {});
  EXPECT_EQ(config("own.json")["vocab_size"], 260);
  const std::string train =
      "train_llama --load-weights model --seq 32 --global-batch 4 --steps 1 --threads 1 --save-interval 1 ";
  expect(train + "--data bytes-train --out refused", 2, {"bytes-train", "model/tokenizer.json", "prepared with"});
  expect(train + "--data own-train --out run", 0, {});
  EXPECT_EQ(config("run/config.json")["tokenizer"], "model");
  EXPECT_EQ(config("run/config.json")["bos"], 257);
  EXPECT_EQ(config("run/config.json")["eos"], "258,10");

  expect("checkpoint_tool export-hf run exported", 0, {"tokenizer.json", "generation_config.json"});
  expect("checkpoint_tool import-hf exported imported", 0, {});
  expect("checkpoint_tool export-hf imported again", 0, {"tokenizer.json"});
  for (const std::string folder : {"exported", "again"})
    for (const std::string file : {"/config.json", "/generation_config.json"}) {
      EXPECT_EQ(config(folder + file)["bos_token_id"], 257) << folder << file;
      EXPECT_EQ(config(folder + file)["eos_token_id"], (nlohmann::json{258, 10})) << folder << file;
    }
  // What another tokenizer says of its ids does not stay in the files.
  expect(train + "--data bytes-train --tokenizer bytes --eos 9 --out other", 0, {});
  EXPECT_EQ(config("other/config.json")["bos"], 256);
  EXPECT_EQ(config("other/config.json")["eos"], 9);
}

TEST_F(TokenizerFolder, APromptNeedsOnlyTheIdsThatItHas) {
  const std::string generate = "generate_llama --model model --threads 1 --max-tokens 1 --ignore-eos --dtype f32 ";
  expect(generate + "--prompt the", 0, {"prefill 3 tokens"});  // begin, th, e
  expect(generate + "--prompt \"the [PAD]\"", 2, {"259", "vocabulary", "model/tokenizer.json"});
}

}  // namespace
}  // namespace trine
