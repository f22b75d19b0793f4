#include "models/llama_config.h"

#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "models/presets.h"
#include "tests/data/scratch.h"
#include "tests/test_data.h"

namespace trine {
namespace {

using nlohmann::json;

std::filesystem::path fixture(const char* name) { return std::filesystem::path(test_data()) / "hf_llama" / name; }

// As people have it for LLaMA-2-7B: no head_dim, no kv heads, no rope_theta.
json plain_config() {
  return json::parse(R"({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000, "rms_norm_eps": 1e-05,
    "hidden_act": "silu", "pretraining_tp": 1, "torch_dtype": "float16", "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0, "rope_scaling": null, "use_cache": true, "max_position_embeddings": 4096})");
}

std::string error_of(const json& config) {
  try {
    from_hugging_face(config, "dir/config.json");
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

TEST(LlamaConfig, NullMembersAreAsIfTheyWereNotThere) {
  for (const char* key : {"hidden_act", "attention_bias", "mlp_bias", "attention_dropout", "quantization_config",
                          "num_key_value_heads", "head_dim", "rms_norm_eps", "initializer_range",
                          "tie_word_embeddings", "max_position_embeddings", "bos_token_id", "eos_token_id",
                          "rope_theta", "rope_scaling", "rope_parameters"}) {
    json without = plain_config(), null = plain_config();
    without.erase(key), null[key] = nullptr;
    EXPECT_EQ(from_hugging_face(null, "null"), from_hugging_face(without, "without")) << key;
  }
  json without = plain_config(), null = plain_config();
  without["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  null["rope_scaling"] = {{"type", "linear"},
                          {"factor", 2.0},
                          {"rope_type", nullptr},
                          {"rope_theta", nullptr},
                          {"partial_rotary_factor", nullptr}};
  EXPECT_EQ(from_hugging_face(null, "null"), from_hugging_face(without, "without"));
}

TEST(LlamaConfig, DamagedFilesNeverCrash) {
  const testing::ScratchFolder folder;
  testing::for_each_damage(plain_config().dump(), [&](const std::string& bad) {
    testing::write_file(folder / "config.json", bad);
    try {
      read_hugging_face_config(folder.path());
    } catch (const DataError&) {
    }
  });
  testing::write_file(folder / "config.json", std::string(70'000, '['));
  testing::expect_error(ExitCode::kData, {"config.json", "128 levels"},
                        [&] { read_hugging_face_config(folder.path()); });
}

TEST(LlamaConfig, PublishedParameterCounts) {
  const auto count = [](const char* preset) { return parameter_count(find_preset(preset)->model); };
  EXPECT_EQ(count("llama2-7b"), 6'738'415'616);
  EXPECT_EQ(count("llama2-13b"), 13'015'864'320);
  EXPECT_EQ(count("llama2-70b"), 68'976'648'192);
  EXPECT_EQ(count("llama3-8b"), 8'030'261'248);
  EXPECT_EQ(count("llama3-70b"), 70'553'706'496);
  EXPECT_EQ(count("bench-m"), 124'668'672);
  EXPECT_EQ(find_preset("llama4"), nullptr);
}

TEST(LlamaConfig, FixtureParameterCountsAndBothForms) {
  const std::pair<const char*, int64_t> cases[] = {
      {"mha", 113'088}, {"gqa_tied_llama3", 406'656}, {"head_dim", 181'056}, {"deep", 396'736}};
  for (const auto& [folder, parameters] : cases) {
    const LlamaConfig v5 = read_hugging_face_config(fixture(folder));
    const LlamaConfig v4 = read_hugging_face_config(fixture(folder) / "config_v4.json");
    EXPECT_EQ(parameter_count(v5), parameters) << folder;
    EXPECT_EQ(v5, v4) << folder;
    EXPECT_EQ(from_hugging_face(to_hugging_face(v5, "float32"), "again"), v5) << folder;
  }
  EXPECT_EQ(read_hugging_face_config(fixture("mha")).norm_eps, 1e-6);
  EXPECT_EQ(read_hugging_face_config(fixture("head_dim")).head_dim, 24);
  EXPECT_EQ(read_hugging_face_config(fixture("gqa_tied_llama3")).rope_theta, 5e5);
  EXPECT_TRUE(read_hugging_face_config(fixture("gqa_tied_llama3")).tie_embeddings);
}

TEST(LlamaConfig, FlopsOfATokenByHand) {
  // q 8x4, k and v 8x2 each, o 4x8, three of 8x10: 336 per layer; head 16x8, tied or not.
  LlamaConfig c{.layers = 2, .hidden = 8, .heads = 2, .kv_heads = 1, .head_dim = 2, .ffn = 10, .vocab = 16};
  EXPECT_EQ(matmul_parameters(c), 2 * 336 + 128);
  EXPECT_EQ(parameter_count(c), 2 * 336 + 2 * 128 + 5 * 8);
  EXPECT_EQ(model_flops_per_token(c, 5), 6 * 800 + 12 * 2 * 2 * 2 * 5);
  c.tie_embeddings = true;
  EXPECT_EQ(matmul_parameters(c), 2 * 336 + 128);
  EXPECT_EQ(parameter_count(c), 2 * 336 + 128 + 5 * 8);
}

TEST(LlamaConfig, AbsentFieldsGetTheirDefaults) {
  LlamaConfig read = from_hugging_face(plain_config(), "config.json");
  LlamaConfig preset = find_preset("llama2-7b")->model;
  preset.pad = 0;  // which that file says
  EXPECT_EQ(read, preset);

  json config = plain_config();
  config["eos_token_id"] = {128001, 128008, 128009};
  config["bos_token_id"] = nullptr;
  config["num_key_value_heads"] = nullptr;
  config["head_dim"] = nullptr;
  read = from_hugging_face(config, "config.json");
  EXPECT_EQ(read.eos, (std::vector<int>{128001, 128008, 128009}));
  EXPECT_EQ(read.bos, -1);
  EXPECT_EQ(read.kv_heads, 32);
  EXPECT_EQ(read.head_dim, 128);
}

TEST(LlamaConfig, GenerationConfigSaysBeginAndEndOfTextBeforeConfig) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("trine-text-ids-{}", ::getpid());
  std::filesystem::create_directory(folder);
  const auto read = [&](const char* generation) {
    std::ofstream(folder / "config.json") << plain_config();
    std::ofstream(folder / "generation_config.json") << generation;
    const LlamaConfig config = read_hugging_face_config(folder);
    return std::pair(config.bos, config.eos);
  };
  EXPECT_EQ(read("{}"), std::pair(1, std::vector<int>{2}));
  EXPECT_EQ(read(R"({"bos_token_id": 3, "eos_token_id": [4, 5]})"), std::pair(3, (std::vector<int>{4, 5})));
  EXPECT_EQ(read(R"({"bos_token_id": null, "eos_token_id": 7})"), std::pair(1, std::vector<int>{7}));
  EXPECT_EQ(read(R"({"bos_token_id": -1, "eos_token_id": [-1]})"), std::pair(1, std::vector<int>{2}));
  EXPECT_THROW(read("{"), DataError);
  std::filesystem::remove_all(folder);
}

TEST(LlamaConfig, OldRopeScalingSpelling) {
  json config = plain_config();
  config["rope_theta"] = 1000000;
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 4}};
  const LlamaConfig read = from_hugging_face(config, "config.json");
  EXPECT_EQ(read.rope_theta, 1e6);
  EXPECT_EQ(read.rope_scaling, (RopeScaling{.kind = RopeScaling::Kind::kLinear, .factor = 4}));
}

TEST(LlamaConfig, RefusesWhatItWouldComputeWrongly) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"attention_bias", "true", "attention_bias is true"},
      {"mlp_bias", "true", "mlp_bias is true"},
      {"attention_dropout", "0.1", "attention_dropout is 0.1"},
      {"hidden_act", R"("gelu")", "hidden_act is \"gelu\""},
      {"model_type", R"("mistral")", "model_type is \"mistral\""},
      {"quantization_config", R"({"bits": 4})", "quantization_config is {\"bits\":4}"},
      {"rope_scaling", R"({"type": "dynamic", "factor": 2.0})", "rope_scaling.type is \"dynamic\""},
      {"rope_parameters", R"({"rope_type": "yarn", "factor": 2.0})", "rope_parameters.rope_type is \"yarn\""},
      {"rope_parameters", R"({"rope_type": "longrope"})", "rope_parameters.rope_type is \"longrope\""},
      {"rope_parameters", R"({"rope_type": "linear"})", "rope_parameters.factor is missing"},
      {"rope_parameters", R"({"partial_rotary_factor": 0.5})", "rope_parameters.partial_rotary_factor is 0.5"},
      {"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1,
                           "original_max_position_embeddings": 8192})",
       "0 < low_freq_factor < high_freq_factor"},
      {"rope_scaling", R"({"rope_type": "linear", "factor": 0.5})", "factor 0.5"},
      {"rope_scaling", "[]", "rope_scaling is []"},
      {"rope_theta", "-1", "rope_theta is -1"},
      {"rope_theta", R"("10000")", "rope_theta is \"10000\""},
      {"hidden_size", "-4096", "hidden_size is -4096"},
      {"hidden_size", "4096.5", "hidden_size is 4096.5"},
      {"hidden_size", "4095", "hidden_size is 4095, no multiple of 32 heads"},
      {"vocab_size", "18446744073709551615", "vocab_size is 18446744073709551615"},
      {"vocab_size", R"("32000")", "vocab_size is \"32000\""},
      {"vocab_size", "null", "vocab_size is missing"},
      {"num_key_value_heads", "5", "32 heads of queries cannot share 5"},
      {"head_dim", "127", "head dim 127 is odd"},
      {"rms_norm_eps", "0", "rms_norm_eps is 0"},
      {"tie_word_embeddings", "1", "tie_word_embeddings is 1"},
      {"eos_token_id", "[2, -2]", "eos_token_id is -2"},
      {"pad_token_id", "0.5", "pad_token_id is 0.5"},
  };
  ASSERT_EQ(error_of(plain_config()), "");
  for (const auto& [key, value, message] : cases) {
    json config = plain_config();
    config[key] = json::parse(value);
    const std::string error = error_of(config);
    EXPECT_NE(error.find(message), std::string::npos) << key << " = " << value << " gave: " << error;
    EXPECT_TRUE(error.starts_with("[dir/config.json] ")) << error;
  }
}

// As published configurations have them: swish is silu, -1 is no id.
TEST(LlamaConfig, OtherSpellingsOfTheSame) {
  json config = plain_config();
  config["hidden_act"] = "swish";
  EXPECT_EQ(from_hugging_face(config, ""), from_hugging_face(plain_config(), ""));
  EXPECT_EQ(from_hugging_face(config, "").pad, 0);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) config[key] = -1;
  json without = plain_config();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) without.erase(key);
  EXPECT_EQ(from_hugging_face(config, ""), from_hugging_face(without, ""));
  config["eos_token_id"] = {2, -1, 5};
  EXPECT_EQ(from_hugging_face(config, "").eos, (std::vector<int>{2, 5}));
  EXPECT_EQ(to_hugging_face(from_hugging_face(plain_config(), ""), "float16")["pad_token_id"], 0);
  EXPECT_TRUE(to_hugging_face(from_hugging_face(without, ""), "float16")["pad_token_id"].is_null());
}

TEST(LlamaConfig, ReportsAllProblemsAtOnce) {
  const std::string error = error_of(json::parse(R"({"model_type": "llama", "attention_bias": true, "ffn": 3})"));
  for (const char* part :
       {"attention_bias", "num_hidden_layers is missing", "hidden_size is missing",
        "num_attention_heads is missing", "intermediate_size is missing", "vocab_size is missing"})
    EXPECT_NE(error.find(part), std::string::npos) << part << " not in: " << error;
  EXPECT_NE(error_of(json::array()), "");
}

TEST(LlamaConfig, ContradictingFormsAreRefused) {
  json config = to_hugging_face(read_hugging_face_config(fixture("gqa_tied_llama3")), "float32");
  ASSERT_EQ(error_of(config), "");
  config["rope_scaling"]["factor"] = 16;
  EXPECT_NE(error_of(config).find("rope_scaling contradicts rope_parameters"), std::string::npos);
  config["rope_scaling"] = nullptr;
  config["rope_theta"] = 1e4;
  EXPECT_NE(error_of(config).find("rope_theta is written twice"), std::string::npos);
}

TEST(LlamaConfig, ValidateReportsEveryProblem) {
  LlamaConfig config = find_preset("tiny")->model;
  Problems none;
  validate(config, none);
  EXPECT_TRUE(none.empty());
  config.layers = 0;
  config.head_dim = 7;
  config.kv_heads = 3;
  config.norm_eps = 0;
  config.rope_theta = std::nan("");
  Problems problems;
  validate(config, problems);
  EXPECT_EQ(problems.list().size(), 5u) << problems.list().front();
}

// 2^43 parameters: the gradient norm adds up 2^36 blocks of 256. Each of these sizes alone is allowed.
TEST(LlamaConfig, AModelWhoseGradientNormHasNoRoomIsRefused) {
  LlamaConfig config = find_preset("llama3-70b")->model;
  config.hidden = 1 << 18, config.ffn = 1 << 20;
  const int64_t per_layer =
      config.hidden * (3 * config.ffn + config.head_dim * 2 * (config.heads + config.kv_heads) + 2);
  const int64_t outside = (2 * config.vocab + 1) * config.hidden, most = int64_t{1} << 43;
  config.layers = (most - outside) / per_layer;
  EXPECT_LE(parameter_count(config), most);
  Problems none, problems;
  validate(config, none);
  EXPECT_TRUE(none.empty()) << none.list().front();
  ++config.layers;
  EXPECT_GT(parameter_count(config), most);
  validate(config, problems);
  ASSERT_EQ(problems.list().size(), 1u);
  EXPECT_NE(problems.list().front().find("8,796,093,022,208"), std::string::npos) << problems.list().front();
}

// Values of a transcript of the formula as Meta publishes it with LLaMA 3.1 (by wavelength, in three branches).
TEST(LlamaConfig, RopeFrequencies) {
  const auto expect = [](const LlamaConfig& config, const std::vector<double>& expected) {
    const std::vector<double> got = rope_inverse_frequencies(config);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-14 * expected[i]) << i;
  };
  expect(read_hugging_face_config(fixture("gqa_tied_llama3")),
         {1.0, 0.0794030091792082, 0.004700753866357992, 0.0009115830921521386, 0.00017677669529663688,
          3.428102195952591e-05, 6.647869871181236e-06, 1.2891731721515574e-06});
  expect(read_hugging_face_config(fixture("head_dim")),
         {0.5, 0.23207944168063896, 0.1077217345015942, 0.05, 0.023207944168063897, 0.010772173450159416, 0.005,
          0.0023207944168063886, 0.0010772173450159421, 0.0005, 0.00023207944168063887, 0.00010772173450159422});

  LlamaConfig llama31 = find_preset("llama3-8b")->model;
  EXPECT_NEAR(rope_inverse_frequencies(llama31)[63], std::pow(5e5, -126.0 / 128), 1e-20);
  llama31.rope_scaling = {RopeScaling::Kind::kLlama3, 8, 1, 4, 8192};
  const std::vector<double> f = rope_inverse_frequencies(llama31);
  const std::pair<size_t, double> bands[] = {{28, 0.0032114459947525913}, {29, 0.002166570763503359},
                                             {32, 0.0005248461609929547}, {34, 0.00017850781276799638},
                                             {35, 9.556212353964683e-05}, {63, 3.068925988914511e-07}};
  for (const auto& [i, value] : bands) EXPECT_NEAR(f[i], value, 1e-14 * value) << i;
}

}  // namespace
}  // namespace trine
