#include "runtime/generation/sampling.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace trine {
namespace {

const std::vector<float> kLogits = {0.5f, 2.0f, -1.0f, 1.0f, 2.0f, -30.0f, 0.0f};
constexpr int kDraws = 40000;

std::vector<double> softmax(double temperature, const std::vector<bool>& kept) {
  std::vector<double> p;
  for (size_t i = 0; i < kLogits.size(); ++i) p.push_back(kept[i] ? std::exp(double(kLogits[i]) / temperature) : 0);
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

// Each token's share of many draws lies within five standard deviations of its probability.
void expect_distribution(const SamplingOptions& options, const std::vector<double>& want) {
  std::vector<int> count(kLogits.size());
  for (int i = 0; i < kDraws; ++i) ++count[static_cast<size_t>(sample_token(kLogits, options, i))];
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == 0) {
      EXPECT_EQ(count[i], 0) << i;
      continue;
    }
    EXPECT_NEAR(count[i], want[i] * kDraws, 5 * std::sqrt(want[i] * (1 - want[i]) * kDraws) + 1) << i;
  }
}

const std::vector<bool> kAll(kLogits.size(), true);

TEST(Sampling, DrawsFromTheSoftmax) {
  expect_distribution({}, softmax(1, kAll));
  expect_distribution({.seed = 7}, softmax(1, kAll));
}

TEST(Sampling, TemperatureDividesTheLogits) {
  expect_distribution({.temperature = 3}, softmax(3, kAll));
  expect_distribution({.temperature = 0.4}, softmax(0.4, kAll));
  EXPECT_EQ(sample_token(std::vector<float>{1, 3, 2}, {.temperature = 1e-3}, 5), 1);
}

TEST(Sampling, TopKKeepsTheMostLikely) {
  expect_distribution({.top_k = 3}, softmax(1, {false, true, false, true, true, false, false}));
  expect_distribution({.top_k = 7}, softmax(1, kAll));
  expect_distribution({.top_k = 100}, softmax(1, kAll));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sample_token(kLogits, {.top_k = 1}, i), 1);  // of equals, the lower id
}

// Probabilities 0.375, 0.375, 0.138, 0.084 ... : sums 0.375, 0.750, 0.888, 0.972.
TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  expect_distribution({.top_p = 0.3}, softmax(1, {false, true, false, false, false, false, false}));
  expect_distribution({.top_p = 0.7}, softmax(1, {false, true, false, false, true, false, false}));
  expect_distribution({.top_p = 0.8}, softmax(1, {false, true, false, true, true, false, false}));
  expect_distribution({.top_p = 0.9}, softmax(1, {true, true, false, true, true, false, false}));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(sample_token(kLogits, {.top_p = 1e-9}, i), 1);
}

TEST(Sampling, TopPCountsWhatTopKLeft) {  // of three: 0.42, 0.42, 0.16
  expect_distribution({.top_k = 3, .top_p = 0.8}, softmax(1, {false, true, false, false, true, false, false}));
}

TEST(Sampling, GreedyTakesTheFirstOfTheBest) {
  EXPECT_EQ(sample_token(kLogits, {.greedy = true, .temperature = 100}, 3), 1);
}

TEST(Sampling, IsAFunctionOfSeedAndPosition) {
  const auto text = [](uint64_t seed) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sample_token(kLogits, {.seed = seed}, i));
    return ids;
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST(Sampling, RefusesLogitsThatAreNotFinite) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {kInf, -kInf, kNan}) {
    EXPECT_THROW(sample_token(std::vector<float>{1, bad, 2}, {.greedy = true}, 0), NonFiniteError);
    EXPECT_THROW(sample_token(std::vector<float>{1, bad, 2}, {}, 0), NonFiniteError);
  }
}

}  // namespace
}  // namespace trine
