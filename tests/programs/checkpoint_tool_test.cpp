// checkpoint_tool as a user meets it: its commands, its exit codes, and that it says what is wrong.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "checkpoint/hash.h"
#include "checkpoint/safetensors.h"
#include "tests/programs/run.h"
#include "tests/test_data.h"

namespace trine {
namespace {

class CheckpointTool : public ProgramTest {
 protected:
  Ran expect(const std::string& command, int code, std::initializer_list<const char*> words = {}) const {
    const Ran ran = in_folder("timeout 60 checkpoint_tool " + command);
    EXPECT_EQ(ran.code, code) << command << "\n" << ran.text;
    for (const char* word : words) EXPECT_THAT(ran.text, testing::HasSubstr(word)) << command;
    return ran;
  }
  // A folder with steps 0 and 7 of the same state, 7 the newer one.
  void two_checkpoints(const std::string& folder) const {
    expect("import-hf " + hf("mha") + " " + folder, 0);
    std::filesystem::copy(folder_ / folder / "step-000000", folder_ / folder / "step-000007");
  }
  void flip_a_bit(const std::string& file) const {
    std::fstream stream(folder_ / file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(20'000);
    const int byte = stream.get();
    stream.seekp(20'000);
    stream.put(static_cast<char>(byte ^ 4));
  }
  static std::string hf(const char* model) { return test_data() + "/hf_llama/" + model; }
};

TEST_F(CheckpointTool, CommandsAndFlagsAreChecked) {
  expect("--help", 0, {"ls", "verify", "diff", "reshard", "export-hf", "import-hf"});
  expect("--version", 0);
  expect("", 2, {"no command"});
  expect("list", 2, {"list is no command", "ls"});
  for (const char* command : {"ls", "verify", "diff", "reshard", "export-hf", "import-hf"}) {
    expect(std::string(command) + " --help", 0, {command});
    expect(command, 2, {"is missing"});
    expect(std::string(command) + " nowhere nowhere-else",
           command == std::string("ls") || command == std::string("verify") ? 2 : 3);
  }
  expect("ls nowhere", 3, {"nowhere is no folder"});
  expect("reshard a b --tpp 2", 2, {"--tpp", "--tp"});
  expect("import-hf " + hf("mha") + " all", 0);
  expect("reshard all cut --tp 3", 2, {"4 heads cannot be split over tp 3"});
  expect("reshard all cut --pp 2 --vpp 2", 2, {"2 layers are fewer than pp 2 * vpp 2"});
  expect("reshard all cut --vpp 2", 2, {"--vpp 2 needs several pipeline ranks"});
  expect("reshard all cut --dp 0", 2, {"--dp"});
  expect("reshard all cut --zero 2", 2, {"--zero"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "cut"));
  expect("export-hf a b --max-shard 5XB", 2, {"5XB", "5GB"});
}

TEST_F(CheckpointTool, FromHuggingFaceAndBack) {
  expect("import-hf " + hf("gqa_tied_llama3") + " all", 0, {"all/step-000000"});
  expect("import-hf " + hf("gqa_tied_llama3") + " all", 2, {"is there already"});
  expect("export-hf all exported --max-shard 500KB", 0,
         {"exported/model-00001-of-0000", "index.json", "config.json"});
  expect("export-hf all exported", 2, {"not an empty folder"});
  expect("import-hf exported again", 0);
  expect("diff all again", 0, {"config model", "equal"});
  expect("reshard all cut --tp 2e0 --pp 2 --dp 2", 0, {"tp1 pp1 dp1 -> tp2 pp2 dp2 zero1"});
  for (const auto& [file, there] : {std::pair("rank-0007.h5", true), {"rank-0008.h5", false}})
    EXPECT_EQ(std::filesystem::exists(folder_ / "cut/step-000000" / file), there) << file;
  expect("diff all cut", 0, {"layout tp: 1 and 2", "layout zero: 0 and 1", "equal"});
  expect("reshard cut again2 --pp 2 --vpp 2", 0, {"tp2 pp2 dp2 zero1 -> tp1 pp2 dp1 vpp2"});
  expect("diff all again2", 0, {"layout vpp: 1 and 2", "config schedule: ", "\"interleaved\"", "equal"});
  expect("reshard again2 uneven --pp 3", 0);
  expect("diff all uneven", 0, {"layout pp: 1 and 3", "equal"});
  for (const char* folder : {"cut", "again2", "uneven"})
    expect(std::string("verify ") + folder, 0, {"step-000000  good"});
  expect("import-hf " + hf("mha") + " other", 0);
  expect("diff all other", 1, {"only in the first", "different"});
  expect("import-hf all/step-000000 broken", 3, {"config.json"});
}

TEST_F(CheckpointTool, ListsAndVerifiesAsJson) {
  expect("import-hf " + hf("mha") + " all", 0);
  const auto listed = nlohmann::json::parse(expect("ls all --json", 0).text);
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0]["step"], 0);
  EXPECT_EQ(listed[0]["good"], true);
  EXPECT_EQ(listed[0]["layout"]["tp"], 1);
  EXPECT_GT(int64_t(listed[0]["bytes"]), 113'088 * 12);
  EXPECT_EQ(nlohmann::json::parse(expect("verify all --json", 0).text)[0]["problems"].size(), 0u);
  EXPECT_EQ(nlohmann::json::parse(expect("diff all all/step-000000 --json", 0).text)["equal"], true);
  std::filesystem::resize_file(folder_ / "all/step-000000/rank-0000.h5", 1000);
  expect("ls all", 0, {"DAMAGED", "1000 bytes"});
  expect("verify all/step-000000", 3, {"1000 bytes"});
  const auto damaged = nlohmann::json::parse(expect("verify all --json", 7).text);
  EXPECT_EQ(damaged[0]["good"], false);
  expect("export-hf all/step-000000 exported", 3, {"1000 bytes"});
  expect("export-hf all exported", 7, {"none of 1 checkpoints is good"});
}

TEST_F(CheckpointTool, SaysWhichOnesAreBrokenAndWhichOneResumeTakes) {
  two_checkpoints("run/checkpoints");
  std::filesystem::create_directory(folder_ / "run/checkpoints/step-000009.tmp-ab12");
  const Ran listed = expect("ls run", 0, {"step-000009.tmp-ab12  UNFINISHED", "--resume takes step-000007"});
  EXPECT_LT(listed.text.find("step-000000 "), listed.text.find("step-000007 ")) << "newest last";
  EXPECT_EQ(expect("ls run/checkpoints/", 0).text, listed.text);
  EXPECT_EQ(in_folder("cd run/checkpoints; checkpoint_tool ls .").text, listed.text);
  expect("verify run", 0, {"step-000000  good", "step-000007  good", "UNFINISHED", "--resume takes step-000007"});
  EXPECT_THAT(expect("ls run/checkpoints/step-000000/", 0, {"step-000000", "tp1 pp1 dp1"}).text,
              testing::Not(testing::HasSubstr("--resume")));

  flip_a_bit("run/checkpoints/step-000007/rank-0000.h5");
  expect("verify run/checkpoints", 3,
         {"step-000000  good", "step-000007  DAMAGED", "its XXH3 is", "--resume takes step-000000"});
  expect("verify run/checkpoints/step-000007", 3, {"its XXH3 is"});
  expect("verify run/checkpoints/step-000000", 0, {"good"});
  expect("diff run run/checkpoints/step-000000", 0, {"passed over step-000007", "equal"});
  expect("ls run", 0, {"--resume takes step-000007, if verify finds its bytes good"});
  std::filesystem::resize_file(folder_ / "run/checkpoints/step-000007/rank-0000.h5", 20'000);
  expect("ls run", 0, {"step-000007  DAMAGED", "20000 bytes", "--resume takes step-000000"});
  const auto json = nlohmann::json::parse(expect("ls run --json", 0).text);
  ASSERT_EQ(json.size(), 3u);
  EXPECT_EQ(json[0]["status"], "good");
  EXPECT_EQ(json[0]["resume"], true);
  EXPECT_EQ(json[1]["status"], "damaged");
  EXPECT_EQ(json[1]["resume"], false);
  EXPECT_EQ(json[2]["status"], "unfinished");

  std::filesystem::resize_file(folder_ / "run/checkpoints/step-000000/manifest.json", 100);
  expect("ls run", 0, {"step-000000  DAMAGED", "does not end with its hash", "none is good"});
  expect("verify run", 7, {"none is good"});
  std::filesystem::remove_all(folder_ / "run/checkpoints/step-000000");
  std::filesystem::remove_all(folder_ / "run/checkpoints/step-000007");
  expect("verify run", 7, {"UNFINISHED", "none is good"});
  expect("export-hf run exported", 7, {"only saves that were cut off"});
  std::filesystem::remove_all(folder_ / "run/checkpoints/step-000009.tmp-ab12");
  expect("ls run", 0, {"no checkpoints in run"});
  expect("verify run", 7, {"no checkpoints in run"});
}

TEST_F(CheckpointTool, ExportsWhatItImported) {
  for (const std::string model : {"mha", "head_dim", "deep"}) {
    expect("import-hf " + hf(model.c_str()) + " " + model, 0);
    expect("export-hf " + model + " " + model + "-hf", 0);
    EXPECT_EQ(read_file(folder_ / (model + "-hf/model.safetensors")),
              read_file(hf(model.c_str()) + "/model.safetensors"))
        << model;
    const auto was = nlohmann::json::parse(read_file(hf(model.c_str()) + "/config.json"));
    const auto is = nlohmann::json::parse(read_file(folder_ / (model + "-hf/config.json")));
    for (const auto& [field, value] : was.items())
      if (is.contains(field)) {
        EXPECT_EQ(is[field], value) << model << " " << field;
      }
    for (const char* field :
         {"architectures", "rope_theta", "rope_parameters", "torch_dtype", "dtype"})  // of 4 and of 5
      EXPECT_TRUE(is.contains(field)) << field;
  }
  // In f16, with a padding token and swish: the numbers, the type and the token come back.
  expect("export-hf mha halves --dtype f16", 0);
  auto config = nlohmann::json::parse(read_file(folder_ / "halves/config.json"));
  EXPECT_EQ(config["dtype"], "float16");
  config["pad_token_id"] = 3, config["hidden_act"] = "swish";
  std::ofstream(folder_ / "halves/config.json") << config;
  expect("import-hf halves f16", 0);
  expect("export-hf f16 f16-hf", 0);
  EXPECT_EQ(read_file(folder_ / "f16-hf/model.safetensors"), read_file(folder_ / "halves/model.safetensors"));
  const auto back = nlohmann::json::parse(read_file(folder_ / "f16-hf/config.json"));
  EXPECT_EQ(back["pad_token_id"], 3);
  EXPECT_EQ(back["torch_dtype"], "float16");
  expect("export-hf f16 no --dtype f64", 2, {"--dtype", "f16"});
  // Half the bytes, and not the same numbers any more.
  expect("export-hf mha half --dtype bf16", 0);
  EXPECT_LT(2 * std::filesystem::file_size(folder_ / "half/model.safetensors"),
            std::filesystem::file_size(folder_ / "mha-hf/model.safetensors") + 10'000);
  expect("import-hf half rounded", 0);
  expect("diff mha rounded", 1, {"weight lm_head.weight: hash"});
}

// The fixtures have no tokenizer: one of them with as many tokens as tests/data/tokenizers/bpe.json.
TEST_F(CheckpointTool, CarriesTheTokenizerOver) {
  constexpr int64_t kVocab = 704;
  const std::filesystem::path tokenizers = std::filesystem::path(test_data()) / "tokenizers";
  std::filesystem::create_directory(folder_ / "hf");
  const SafetensorsFile fixture(hf("mha") + "/model.safetensors");
  const std::vector<std::byte> zeros(kVocab * 64 * sizeof(float));
  std::vector<std::vector<float>> values;
  values.reserve(fixture.tensors().size());
  std::vector<SafetensorsEntry> entries;
  for (auto [name, tensor] : fixture.tensors()) {
    if (tensor.shape[0] == 97) {
      tensor.shape = {kVocab, 64}, tensor.bytes = zeros;
    } else {
      values.push_back(to_vector<float>(tensor));
      tensor.bytes = std::as_bytes(std::span<const float>(values.back()));
    }
    tensor.file = nullptr;
    entries.push_back({name, tensor});
  }
  write_safetensors(folder_ / "hf/model.safetensors", std::move(entries));
  auto config = nlohmann::json::parse(read_file(hf("mha") + "/config.json"));
  config["vocab_size"] = kVocab;
  std::ofstream(folder_ / "hf/config.json") << config;
  std::filesystem::copy(tokenizers / "bpe.json", folder_ / "hf/tokenizer.json");
  std::ofstream(folder_ / "hf/tokenizer_config.json") << "{}";

  expect("import-hf hf all", 0);
  expect("export-hf all exported", 0, {"exported/tokenizer.json", "exported/tokenizer_config.json"});
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors"})
    EXPECT_EQ(read_file(folder_ / "exported" / file), read_file(folder_ / "hf" / file)) << file;
  std::filesystem::copy(tokenizers / "bpe_gpt2.json", folder_ / "hf/tokenizer.json",
                        std::filesystem::copy_options::overwrite_existing);
  expect("export-hf all another", 0, {"is not the tokenizer of this checkpoint any more"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "another/tokenizer.json"));
  std::filesystem::remove(folder_ / "hf/tokenizer.json");
  expect("export-hf all without", 0, {"the tokenizer is not copied"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "without/tokenizer.json"));
}

TEST_F(CheckpointTool, RefusesForeignFolders) {
  std::filesystem::copy(hf("mha"), folder_ / "hf");
  std::filesystem::permissions(folder_ / "hf/config.json", std::filesystem::perms::owner_all);
  const std::string config = read_file(folder_ / "hf/config.json");
  const auto with = [&](const char* field, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(config);
    json[field] = value;
    std::ofstream(folder_ / "hf/config.json") << json;
  };
  with("num_hidden_layers", 3);
  expect("import-hf hf all", 3, {"model.layers.2.", "is missing"});
  with("num_hidden_layers", 1);
  expect("import-hf hf all", 3, {"model.layers.1.", "is no parameter of this model"});
  with("intermediate_size", 7);
  expect("import-hf hf all", 3, {"has shape", "do not fit config.json", "the model needs [7,64]"});
  with("num_hidden_layers", int64_t{1} << 50);
  expect("import-hf hf all", 3);
  with("num_hidden_layers", 1000);
  expect("import-hf hf all", 3, {"1000 layers, but 21 tensors"});
  with("model_type", "gpt2");
  expect("import-hf hf all", 3, {"gpt2"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "all/step-000000"));
}

TEST_F(CheckpointTool, FollowsARunToWhereItSaves) {
  two_checkpoints("elsewhere");
  std::filesystem::create_directory(folder_ / "run");
  std::ofstream(folder_ / "run/config.json") << R"({"save": "elsewhere"})";
  expect("ls run", 0, {"step-000000", "--resume takes step-000007"});
  expect("verify run", 0, {"--resume takes step-000007"});
  expect("diff run elsewhere/step-000000", 0, {"equal"});
  expect("export-hf run exported", 0);
  const Ran ran = in_folder("cd elsewhere; checkpoint_tool ls ../run");
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.text, testing::HasSubstr("saves to elsewhere, and there is no such folder"));
}

// What a good hash hides: a tensor's hash that is not right, another state of training.
TEST_F(CheckpointTool, VerifyAndDiffLookBehindTheHashesOfFiles) {
  expect("import-hf " + hf("mha") + " good", 0);
  const auto changed = [&](const std::string& name, const std::string& before, const std::string& after) {
    std::filesystem::copy(folder_ / "good", folder_ / name, std::filesystem::copy_options::recursive);
    const auto manifest = folder_ / name / "step-000000/manifest.json";
    std::string text = read_file(manifest);
    text.replace(text.find(before), before.size(), after);
    text.resize(text.rfind("\"hash\": \""));
    std::ofstream(manifest) << text << "\"hash\": \"" << hex(xxh3(text)) << "\"}\n";
  };
  const std::string text = read_file(folder_ / "good/step-000000/manifest.json");
  const std::string hash = text.substr(text.find("\"hash\":\""), 24);  // of the first tensor
  changed("tensor", hash, "\"hash\":\"0123456789abcdef");
  expect("ls tensor", 0, {"--resume takes step-000000"});
  expect("verify tensor", 7, {"DAMAGED", "the hash of weight lm_head.weight is", "need 0123456789abcdef"});
  expect("diff good tensor", 1, {"weight lm_head.weight: hash", "different: 1 of 63 tensors, 0 fields"});
  changed("state", "\"loss_scale\":1.0", "\"loss_scale\":2.0");
  expect("verify state", 0);
  expect("diff good state", 1, {"state loss_scale: 1.0 and 2.0", "different: 0 of 63 tensors, 1 field"});
}

}  // namespace
}  // namespace trine
