// --stage-split against what published trainings say of theirs.
#include <gmock/gmock.h>

#include "plan/plan.h"

namespace trine {
namespace {

using testing::Each;
using testing::ElementsAre;

std::vector<int64_t> layers_of(StageSplit split, int64_t layers, int num_stages, int64_t vocab = 32000) {
  Config config;
  config.model = {.layers = layers, .hidden = 1024, .heads = 8, .kv_heads = 8, .head_dim = 128, .ffn = 2816};
  config.model.vocab = vocab;
  config.seq = 2048;
  config.stage_split = split;
  std::vector<int64_t> list;
  for (const Stage& stage : stages_of(config, num_stages)) list.push_back(stage.end_layer - stage.first_layer);
  return list;
}

// 70 layers over 12 stages: BLOOM's chronicles, 2022-02-28 ("--pp-partition-method 'type:transformer|embedding'").
TEST(StageSplit, LayersAndEndsAsBloomHadThem) {
  EXPECT_THAT(layers_of(StageSplit::kLayersAndEnds, 70, 12), ElementsAre(5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5));
}

// 126 layers over 16 stages: "The Llama 3 Herd of Models", section 3.3.2: one layer less on the first and last stage.
TEST(StageSplit, LayersAndEndsAsLlama3HadThem) {
  std::vector<int64_t> layers = layers_of(StageSplit::kLayersAndEnds, 126, 16);
  EXPECT_EQ(layers.front(), 7);
  EXPECT_EQ(layers.back(), 7);
  layers.erase(layers.begin()), layers.pop_back();
  EXPECT_THAT(layers, Each(8));
}

TEST(StageSplit, AsManyLayersEach) {
  EXPECT_THAT(layers_of(StageSplit::kLayers, 32, 4, 128256), ElementsAre(8, 8, 8, 8));
  EXPECT_THAT(layers_of(StageSplit::kLayers, 4, 1), ElementsAre(4));
}

// What is left over goes to stages between, which have neither embedding nor head.
TEST(StageSplit, UnevenNumbersSpareTheEnds) {
  EXPECT_THAT(layers_of(StageSplit::kLayers, 10, 4), ElementsAre(2, 3, 3, 2));
  EXPECT_THAT(layers_of(StageSplit::kLayersAndEnds, 12, 4), ElementsAre(2, 4, 4, 2));
  EXPECT_THAT(layers_of(StageSplit::kLayersAndEnds, 4, 4), ElementsAre(1, 1, 1, 1));
}

// A head of 128,256 tokens over a width of 1,024 is worth many layers.
TEST(StageSplit, ByCostAHeadTakesThePlaceOfLayers) {
  const std::vector<int64_t> layers = layers_of(StageSplit::kCost, 32, 4, 128256);
  EXPECT_LT(layers.back(), 8);
  EXPECT_GT(layers.front(), 8);
}

// LLaMA-3 8B over 8: its embedding is worth 2.4 layers of memory, and no time. With four layers on the first stage the
// step would be as long, and an RTX 4090 too small.
TEST(StageSplit, ByCostTheFirstStageHasFewLayersWhereThatCostsNothing) {
  Config config;
  config.model = {.layers = 32, .hidden = 4096, .heads = 32, .kv_heads = 8, .head_dim = 128, .ffn = 14336};
  config.model.vocab = 128256;
  config.seq = 4096;
  const std::vector<Stage> stages = stages_of(config, 8);
  std::vector<int64_t> layers;
  for (const Stage& stage : stages) layers.push_back(stage.end_layer - stage.first_layer);
  EXPECT_LE(layers.front(), 3);
  EXPECT_LE(layers.back(), 3);
  EXPECT_EQ(*std::ranges::max_element(layers), 5);  // 34.2 layers over 8
}

}  // namespace
}  // namespace trine
