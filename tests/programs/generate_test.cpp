// generate_llama as a user runs it: the reference tokens of Hugging Face transformers, errors and their codes.
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/programs/run.h"
#include "tests/test_data.h"

namespace trine {
namespace {

class Generate : public ProgramTest {
 protected:
  static std::string hf(const std::string& model) { return test_data() + "/hf_llama/" + model; }

  // A copy of a model with the weights that its generate.json is about (README there): attention times 4.
  void copy_scaled(const std::string& model) const {
    std::filesystem::copy(hf(model), folder_ / model, std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / model)) {
      const std::string name = entry.path().filename();
      if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
      std::string bytes = read_file(entry.path());
      uint64_t header_size = 0;
      std::memcpy(&header_size, bytes.data(), 8);
      const auto header = nlohmann::json::parse(bytes.substr(8, header_size));
      for (const auto& [tensor, description] : header.items()) {
        if (tensor.find("self_attn") == std::string::npos) continue;
        const auto offsets = description["data_offsets"].get<std::vector<size_t>>();
        for (size_t at = 8 + header_size + offsets[0]; at < 8 + header_size + offsets[1]; at += 4) {
          float x;
          std::memcpy(&x, &bytes[at], 4);
          x *= 4;
          std::memcpy(&bytes[at], &x, 4);
        }
      }
      std::ofstream(entry.path(), std::ios::binary) << bytes;
    }
  }
  static std::string ids(const nlohmann::json& list) {
    std::string text = list.dump();
    return text.substr(1, text.size() - 2);
  }
  void expect(const std::string& command, int code, std::initializer_list<const char*> words) const {
    const Ran ran = in_folder("timeout 60 " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words)
      EXPECT_NE(ran.text.find(word), std::string::npos) << "no \"" << word << "\" in\n" << ran.text;
  }
};

TEST_F(Generate, GreedyTokensAreTransformers) {
  for (const std::string model : {"mha", "gqa_tied_llama3", "head_dim", "deep"}) {
    copy_scaled(model);
    const auto json = read_json_file(hf(model) + "/generate.json");
    const std::string command =
        "generate_llama --model " + model + " --prompt-ids " + ids(json["prompt"]) +
        " --greedy --dtype f32 --max-tokens 3.2e1 --ignore-eos --print-ids --threads 1 2>stats";
    const std::string want = ids(json["greedy"]) + "\n";
    EXPECT_EQ(in_folder(command).text, want) << model;
    EXPECT_NE(read_file(folder_ / "stats").find("decode 31 tokens"), std::string::npos);
    EXPECT_NE(read_file(folder_ / "stats").find("KV cache"), std::string::npos);
    EXPECT_EQ(in_folder(command + " --tp 2").text, want) << model;
    EXPECT_EQ(in_folder(TRINE_MPIEXEC " -np 2 " + command + " --tp 2").text, want) << model;
  }
}

TEST_F(Generate, ReadsRunFoldersAndCheckpoints) {
  const Ran trained = in_folder(
      "timeout 100 train_llama --layers 2 --hidden 32 --heads 4 --kv-heads 2 --head-dim 8 --ffn 40 --vocab 259 "
      "--seq 16 --global-batch 4 --model bench-s --steps 2 --save-interval 1 --threads 1 --out saved");
  ASSERT_EQ(trained.code, 0) << trained.text;
  const std::string rest =
      " --prompt hello --greedy --dtype f32 --max-tokens 8 --ignore-eos --print-ids --threads 1 2>/dev/null";
  const std::string text = in_folder("generate_llama --model saved" + rest).text;
  EXPECT_EQ(std::count(text.begin(), text.end(), ','), 7) << text;
  EXPECT_EQ(in_folder("generate_llama --model saved/checkpoints/step-000002 --tp 2" + rest).text, text);
  EXPECT_EQ(in_folder("generate_llama --model saved/checkpoints/" + rest).text, text);
  std::filesystem::remove(folder_ / "saved/checkpoints/step-000002/manifest.json");
  expect("generate_llama --model saved --prompt a --max-tokens 1", 0, {"passed over checkpoint step-000002"});
  std::filesystem::remove(folder_ / "saved/checkpoints/step-000001/model.h5");
  expect("generate_llama --model saved --prompt a", 7, {"step-000001", "step-000002"});
}

TEST_F(Generate, SameSeedSameTextOnAnyRanks) {
  const std::string command = "generate_llama --model " + hf("deep") +
                              " --prompt hello --dtype f32 --max-tokens 40 --ignore-eos --print-ids --threads 1 "
                              "--temperature 0.8 --top-k 50 --top-p 0.9 ";
  const std::string text = in_folder(command + "2>/dev/null").text;
  EXPECT_EQ(std::count(text.begin(), text.end(), ','), 39) << text;
  EXPECT_EQ(in_folder(command + "2>/dev/null").text, text);
  EXPECT_EQ(in_folder(command + "--tp 2 2>/dev/null").text, text);
  EXPECT_NE(in_folder(command + "--seed 5 2>/dev/null").text, text);
}

TEST_F(Generate, StopsAtTheEndOfText) {
  copy_scaled("deep");
  auto config = read_json_file((folder_ / "deep/config.json").string());
  config["eos_token_id"] = {158, 11};  // its greedy tokens begin 11, 11, 158
  std::ofstream(folder_ / "deep/config.json") << config;
  const auto prompt = ids(read_json_file(hf("deep") + "/generate.json")["prompt"]);
  const std::string command = "generate_llama --model deep --prompt-ids " + prompt +
                              " --greedy --dtype f32 --max-tokens 5 --print-ids --threads 1 ";
  EXPECT_EQ(in_folder(command + "2>/dev/null").text, "\n");
  EXPECT_EQ(in_folder(command + "--ignore-eos 2>/dev/null").text, "11,11,158,93,11\n");
  std::ofstream(folder_ / "deep/generation_config.json") << R"({"eos_token_id": [7, 158]})";
  EXPECT_EQ(in_folder(command + "2>/dev/null").text, "11,11\n");
}

TEST_F(Generate, WritesTextOfTheTokenizer) {
  const std::string command =
      "generate_llama --model " + hf("deep") + " --prompt hello --greedy --max-tokens 8 --threads 1 ";
  const Ran ids = in_folder(command + "--print-ids 2>/dev/null"), text = in_folder(command + "2>/dev/null");
  EXPECT_EQ(ids.code, 0) << ids.text;
  std::string want;
  const auto list = nlohmann::json::parse("[" + ids.text + "]");
  for (const int id : list.get<std::vector<int>>())
    if (id < 256) want += static_cast<char>(id);
  EXPECT_EQ(text.text, want + "\n");
}

TEST_F(Generate, BadInputIsNamed) {
  const std::string model = "generate_llama --model " + hf("deep") + " --threads 1 ";
  expect("generate_llama", 2, {"--model"});
  expect("generate_llama --modell x", 2, {"--modell", "--model"});
  expect(model + "--prompt a --prompt-ids 1", 2, {"--prompt-ids"});
  expect(model + "--prompt-ids 1,x", 2, {"1,x"});
  expect(model + "--prompt-ids 1,,2", 2, {"1,,2"});
  expect(model + "--prompt-ids 259", 2, {"259", "vocabulary"});
  expect(model + "--prompt-ids -1", 2, {"-1"});
  expect(model + "--prompt a --temperature -1 --top-p 0 --top-k -2 --dtype fp8 --max-tokens 0", 2,
         {"--temperature", "--top-p", "--top-k", "--dtype", "--max-tokens"});
  expect(model + "--prompt " + std::string(257, 'x'), 2, {"257 tokens", "256"});
  expect(model + "--prompt a --tp 3", 2, {"[mesh]", "heads", "3"});
  expect(model + "--prompt a --max-tokens 1000000000", 4, {"[memory]", "caches"});
  expect("generate_llama --model nowhere --prompt a", 3, {"nowhere"});
  expect("generate_llama --model " + hf("mha") + " --prompt a", 2, {"tokenizer"});
  expect("generate_llama --model " + hf("mha") + " --prompt a --tokenizer bytes", 2, {"259", "97"});
  expect(TRINE_MPIEXEC " -np 2 " + model + "--prompt a", 2, {"2 ranks", "--tp 1"});
  std::filesystem::copy(hf("deep"), folder_ / "cut", std::filesystem::copy_options::recursive);
  std::filesystem::resize_file(folder_ / "cut/model.safetensors", 100000);
  expect("generate_llama --model cut --prompt a", 3, {"model.safetensors"});
  std::filesystem::remove(folder_ / "cut/model.safetensors");
  expect("generate_llama --model cut --prompt a", 3, {"cut"});
  expect("generate_llama --model cut --prompt a --tp 2", 3, {"cut"});
}

}  // namespace
}  // namespace trine
