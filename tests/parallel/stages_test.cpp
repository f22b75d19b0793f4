#include "parallel/stages.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>

#include "base/error.h"

namespace trine {
namespace {

double cost_of_dearest(const std::vector<int64_t>& layers, const LayerCosts& costs) {
  double most = 0;
  for (size_t s = 0; s < layers.size(); ++s)
    most = std::max(most, static_cast<double>(layers[s]) * costs.layer + (s == 0 ? costs.embedding : 0) +
                              (s + 1 == layers.size() ? costs.head : 0));
  return most;
}

// Calls f(layers) for every way to give each stage a layer at least.
void for_each_split(int64_t left, int stages, std::vector<int64_t>& layers,
                    const std::function<void(const std::vector<int64_t>&)>& f) {
  if (stages == 1) {
    layers.push_back(left);
    f(layers);
    layers.pop_back();
    return;
  }
  for (int64_t own = 1; own <= left - (stages - 1); ++own) {
    layers.push_back(own);
    for_each_split(left - own, stages - 1, layers, f);
    layers.pop_back();
  }
}

std::vector<int64_t> layers_of(const std::vector<Stage>& stages) {
  std::vector<int64_t> layers;
  for (const Stage& stage : stages) layers.push_back(stage.end_layer - stage.first_layer);
  return layers;
}

TEST(Stages, NoSplitIsCheaper) {
  int splits = 0;
  for (const LayerCosts& costs : {LayerCosts{1, 0, 0}, {1, 0.5, 0.7}, {2, 0, 5}, {1, 3, 0}, {1, 2, 2}, {3, 100, 1}})
    for (int64_t layers = 1; layers <= 11; ++layers)
      for (int count = 1; count <= std::min<int64_t>(layers, 6); ++count) {
        const std::vector<Stage> stages = split_layers(layers, count, costs);
        double best = 1e9;
        std::vector<int64_t> prefix;
        for_each_split(layers, count, prefix, [&](const std::vector<int64_t>& split) {
          best = std::min(best, cost_of_dearest(split, costs));
          ++splits;
        });
        EXPECT_EQ(cost_of_dearest(layers_of(stages), costs), best)
            << layers << " layers, " << count << " stages, embedding " << costs.embedding << ", head "
            << costs.head;
      }
  EXPECT_GT(splits, 1000);
}

// Of the splits that are as quick, the one whose largest stage is smallest.
TEST(Stages, NoSplitThatIsAsQuickNeedsLess) {
  int smaller = 0;
  for (const LayerCosts& time : {LayerCosts{1, 0, 0}, {1, 0.1, 2.2}, {1, 0, 0.7}, {1, 1.5, 1.5}})
    for (const LayerCosts& memory : {LayerCosts{1, 0, 0}, {1, 2.4, 2.4}, {1, 0.6, 0.6}, {1, 4, 0}})
      for (int64_t layers = 1; layers <= 13; ++layers)
        for (int count = 1; count <= std::min<int64_t>(layers, 5); ++count) {
          const std::vector<int64_t> split = layers_of(split_layers(layers, count, time, memory));
          const double longest = cost_of_dearest(split, time);
          EXPECT_EQ(longest, cost_of_dearest(layers_of(split_layers(layers, count, time)), time));
          double least = 1e9;
          std::vector<int64_t> prefix;
          for_each_split(layers, count, prefix, [&](const std::vector<int64_t>& other) {
            if (cost_of_dearest(other, time) <= longest) least = std::min(least, cost_of_dearest(other, memory));
          });
          EXPECT_EQ(cost_of_dearest(split, memory), least) << layers << " layers, " << count << " stages, head "
                                                           << time.head << ", embedding " << memory.embedding;
          const std::vector<int64_t> by_time = layers_of(split_layers(layers, count, time, time));
          smaller += cost_of_dearest(by_time, memory) > least ? 1 : 0;
        }
  EXPECT_GT(smaller, 50);
}

TEST(Stages, FollowEachOtherAndHoldAllLayers) {
  const std::vector<Stage> stages = split_layers(10, 4, {1, 0.5, 1.5});
  ASSERT_EQ(stages.size(), 4u);
  int64_t next = 0;
  for (int i = 0; i < 4; ++i) {
    const Stage& stage = stages[static_cast<size_t>(i)];
    EXPECT_EQ(stage.index, i);
    EXPECT_EQ(stage.count, 4);
    EXPECT_EQ(stage.first_layer, next);
    EXPECT_GT(stage.end_layer, next);
    EXPECT_EQ(stage.is_first(), i == 0);
    EXPECT_EQ(stage.is_last(), i == 3);
    next = stage.end_layer;
  }
  EXPECT_EQ(next, 10);
}

TEST(Stages, LaterOnesGetTheLongerPart) {
  EXPECT_EQ(layers_of(split_layers(10, 4, {})), (std::vector<int64_t>{2, 2, 3, 3}));
  EXPECT_EQ(layers_of(split_layers(5, 4, {})), (std::vector<int64_t>{1, 1, 1, 2}));
  EXPECT_EQ(layers_of(split_layers(9, 4, {1, 0, 1})), (std::vector<int64_t>{2, 2, 3, 2}));
}

TEST(Stages, NeedALayerEach) { EXPECT_THROW(split_layers(3, 4, {}), CheckError); }

}  // namespace
}  // namespace trine
