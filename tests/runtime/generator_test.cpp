// Generation against Hugging Face transformers (tests/data/hf_llama), and against itself: one pass, blocks, one
// token at a time, any tp.
#include "runtime/generation/generator.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "runtime/generation/model_folder.h"
#include "runtime/generation/sampling.h"
#include "tests/test_data.h"

namespace trine {
namespace {

constexpr const char* kModels[] = {"mha", "gqa_tied_llama3", "head_dim", "deep"};

std::string folder_of(const std::string& model) { return test_data() + "/hf_llama/" + model; }

// The weights that generate.json is about (README there).
ParameterSource with_strong_attention(const ParameterSource& weights) {
  return [weights](const std::string& name, int64_t begin, std::span<float> out) {
    weights(name, begin, out);
    const bool scaled = name.find("self_attn") != std::string::npos;
    for (float& x : out) x *= scaled ? 4.0f : 1.0f;
  };
}

// body(generator, rank) on every rank.
template <typename Body>
void on_ranks(const InferencePlan& plan, const ParameterSource& weights, Body&& body) {
  const auto run = [&](Communicator* tp) {
    const auto backend = make_cpu_backend(plan.threads);
    Generator generator(plan, *backend, tp);
    generator.set_parameters(weights);
    body(generator, tp ? tp->rank() : 0);
  };
  if (plan.mesh().tp == 1) return run(nullptr);
  run_local_ranks(plan.mesh().tp, [&](Fabric& fabric) {
    CommWorld world(fabric, plan.mesh(), std::chrono::seconds(60));
    run(&world[Group::kTp]);
  });
}

double relative_error(std::span<const float> got, std::span<const float> want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double(got[i]) - double(want[i]), 2);
    norm += std::pow(double(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

class GeneratesLikeTransformers : public testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(GeneratesLikeTransformers, GreedyTokens) {
  const auto [name, tp] = GetParam();
  const ModelFolder model = open_model(folder_of(name));
  const auto json = read_json_file(folder_of(name) + "/generate.json");
  const auto prompt = json["prompt"].get<std::vector<int32_t>>(), want = json["greedy"].get<std::vector<int32_t>>();
  for (const int64_t block : {12, 5, 1}) {
    const InferencePlan plan =
        build_inference_plan(model.config, {.block = block, .max_seq = 44, .dtype = DType::kF32}, tp, 1);
    on_ranks(plan, with_strong_attention(model.weights), [&](Generator& generator, int) {
      std::vector<int32_t> got;
      std::span<const float> logits = generator.prefill(prompt);
      EXPECT_EQ(generator.position(), 12);
      while (got.size() < want.size()) {
        got.push_back(sample_token(logits, {.greedy = true}, generator.position()));
        if (got.size() < want.size()) logits = generator.decode(got.back());
      }
      EXPECT_EQ(got, want) << "block " << block;
    });
  }
}

// The logits of each token, read one by one and in blocks of any size, are those of the full forward pass.
TEST_P(GeneratesLikeTransformers, Logits) {
  const auto [name, tp] = GetParam();
  const ModelFolder model = open_model(folder_of(name));
  const SafetensorsFile reference(folder_of(name) + "/reference.safetensors");
  const auto ids = to_vector<int32_t>(reference.tensor("ids"));
  const auto logits = to_vector<float>(reference.tensor("logits"));
  const int64_t seq = reference.tensor("ids").shape[1], vocab = model.config.vocab;
  const auto want = [&](int64_t last) {  // of the first sequence
    return std::span(logits).subspan(static_cast<size_t>(last * vocab), static_cast<size_t>(vocab));
  };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const double tolerance = dtype == DType::kF32 ? 1e-5 : 3e-2;
    const InferencePlan plan =
        build_inference_plan(model.config, {.block = 16, .max_seq = round_up(seq, 16), .dtype = dtype}, tp, 1);
    on_ranks(plan, model.weights, [&](Generator& generator, int) {
      for (int64_t i = 0; i < seq; ++i)
        EXPECT_LT(relative_error(generator.decode(ids[static_cast<size_t>(i)]), want(i)), tolerance) << i;
      for (const int64_t length : {int64_t{1}, int64_t{7}, int64_t{16}, int64_t{17}, seq}) {
        generator.rewind();
        const auto got = generator.prefill(std::span(ids).first(static_cast<size_t>(length)));
        EXPECT_LT(relative_error(got, want(length - 1)), tolerance) << "the first " << length;
        if (length == seq) continue;
        EXPECT_LT(relative_error(generator.decode(ids[static_cast<size_t>(length)]), want(length)), tolerance)
            << "behind the first " << length;
      }
    });
  }
}

// tp 4: as many ranks as query heads, twice the kv heads of head_dim and deep; tp 6: three times those of gqa.
INSTANTIATE_TEST_SUITE_P(Each, GeneratesLikeTransformers,
                         testing::Combine(testing::ValuesIn(kModels), testing::Values(1, 2)), [](const auto& p) {
                           return fmt::format("{}_tp{}", std::get<0>(p.param), std::get<1>(p.param));
                         });
INSTANTIATE_TEST_SUITE_P(ManyRanks, GeneratesLikeTransformers,
                         testing::Values(std::tuple{"mha", 4}, std::tuple{"head_dim", 4}, std::tuple{"deep", 4},
                                         std::tuple{"gqa_tied_llama3", 6}),
                         [](const auto& p) {
                           return fmt::format("{}_tp{}", std::get<0>(p.param), std::get<1>(p.param));
                         });

// Long enough for several tiles of attention and a block that begins on a tile, with threads.
TEST(Generator, PrefillInBlocksEqualsOnePassAndTokenByToken) {
  LlamaConfig config;
  config.layers = 2, config.hidden = 48, config.heads = 6, config.kv_heads = 2, config.head_dim = 8;
  config.ffn = 80, config.vocab = 61, config.init_std = 0.2;
  std::vector<int32_t> ids(200);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * i % 61);
  std::vector<std::vector<float>> logits;
  for (const auto& [block, threads] :
       {std::pair<int64_t, int>{200, 1}, {64, 2}, {128, 1}, {50, 2}, {1, 1}, {7, 2}}) {
    const InferencePlan plan = build_inference_plan(
        config, {.block = block, .max_seq = round_up(200, block), .dtype = DType::kF32}, 1, threads);
    on_ranks(plan, initial_values(plan.graph, 3), [&](Generator& generator, int) {
      const auto last = generator.prefill(ids);
      logits.emplace_back(last.begin(), last.end());
    });
  }
  for (const auto& other : logits) EXPECT_LT(relative_error(other, logits[0]), 1e-5);
}

TEST(Generator, RanksHoldTheCachesOfTheirKvHeads) {
  const ModelFolder model = open_model(folder_of("deep"));  // 8 layers, 2 kv heads of 16
  const auto bytes = [&](int tp, DType dtype) {
    return build_inference_plan(model.config, {.block = 4, .max_seq = 10, .dtype = dtype}, tp, 1).cache_bytes();
  };
  EXPECT_EQ(bytes(1, DType::kF32), 2 * 8 * 10 * 32 * 4);
  EXPECT_EQ(bytes(2, DType::kF32), 2 * 8 * 10 * 16 * 4);
  EXPECT_EQ(bytes(4, DType::kBF16), 2 * 8 * 10 * 16 * 2);  // one kv head each, every one twice
}

TEST(Generator, RefusesWhatCannotBeSplit) {
  const LlamaConfig config = open_model(folder_of("gqa_tied_llama3")).config;  // 6 heads, 2 kv heads
  for (const int tp : {3, 4, 5, 12})
    EXPECT_THROW(build_inference_plan(config, {.block = 4, .max_seq = 10}, tp, 1), ConfigError) << tp;
}

}  // namespace
}  // namespace trine
