#include "data/sampler.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <set>

#include "tests/data/scratch.h"

namespace trine {
namespace {

TokenSourcePtr counting(int32_t size) {
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), 0);
  return std::make_shared<MemoryTokens>(std::move(tokens), "0, 1, 2, ...");
}

TEST(Sampler, AnEpochHasFloorOfTokensMinusOneOverSeqSamples) {
  EXPECT_EQ(Sampler(101, 10, 0, false).samples_per_epoch(), 10);
  EXPECT_EQ(Sampler(100, 10, 0, false).samples_per_epoch(), 9);  // the last sample needs its 11th token
  EXPECT_EQ(Sampler(11, 10, 0, false).samples_per_epoch(), 1);
}

TEST(Sampler, TooFewTokensSayHowMany) {
  testing::expect_error(ExitCode::kData, {"10 tokens", "--seq + 1 = 11"}, [] { Sampler(10, 10, 0, true); });
  testing::expect_error(ExitCode::kData, {"0 tokens"}, [] { Sampler(0, 1, 0, true); });
}

TEST(BatchReader, UnshuffledSamplesShareOneTokenAndCrossEpochs) {
  const BatchReader reader(counting(14), 4, 1, false);  // 3 samples an epoch
  ASSERT_EQ(reader.sampler().samples_per_epoch(), 3);
  std::vector<int32_t> ids(16), labels(16);
  reader.fill(1, 4, ids.data(), labels.data());  // samples 1 and 2, then 0 and 1 of the next epoch
  EXPECT_EQ(ids, (std::vector<int32_t>{4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7}));
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(labels[i], ids[i] + 1);
}

TEST(BatchReader, RowsDoNotDependOnHowTheyAreAskedFor) {
  const BatchReader reader(counting(1000), 7, 42, true);
  constexpr int64_t rows = 300;  // two epochs and more
  std::vector<int32_t> ids(rows * 7), labels(rows * 7), one_id(7), one_label(7);
  reader.fill(0, rows, ids.data(), labels.data());
  for (int64_t row = rows - 1; row >= 0; --row) {
    reader.fill(row, 1, one_id.data(), one_label.data());
    EXPECT_TRUE(std::equal(one_id.begin(), one_id.end(), ids.begin() + row * 7));
    EXPECT_TRUE(std::equal(one_label.begin(), one_label.end(), labels.begin() + row * 7));
  }
}

TEST(Sampler, AShuffledEpochVisitsEverySampleOnceInAnOrderOfItsOwn) {
  const int64_t samples = 1000;
  const Sampler sampler(samples * 3 + 1, 3, 7, true), other_seed(samples * 3 + 1, 3, 8, true);
  std::vector<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < samples; ++i) order.push_back(sampler.first_token(epoch * samples + i));
    std::set<int64_t> seen(order.begin(), order.end());
    EXPECT_EQ(seen.size(), 1000u);
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), 2997);
    orders.push_back(order);
  }
  orders.emplace_back();
  for (int64_t i = 0; i < samples; ++i) orders.back().push_back(other_seed.first_token(i));
  std::vector<int64_t> sorted = orders[0];
  std::sort(sorted.begin(), sorted.end());
  orders.push_back(sorted);
  for (size_t a = 0; a < orders.size(); ++a) {  // two independent orders agree in about one place of the thousand
    for (size_t b = 0; b < a; ++b) {
      int same = 0;
      for (size_t i = 0; i < 1000; ++i) same += orders[a][i] == orders[b][i];
      EXPECT_LT(same, 12) << a << " " << b;
    }
  }
}

TEST(TokenSource, RandomTokensAreAFunctionOfTheirIndex) {
  const RandomTokens source(1000, 5);
  std::vector<int32_t> all(2000), part(500);
  source.read(1'000'000, 2000, all.data());
  source.read(1'000'700, 500, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 700));
  double sum = 0;
  for (int32_t token : all) {
    ASSERT_TRUE(0 <= token && token < 1000);
    sum += token;
  }
  EXPECT_NEAR(sum / 2000, 499.5, 5 * 288.7 / std::sqrt(2000));  // five standard errors of the mean
  RandomTokens(1000, 6).read(1'000'000, 2000, all.data());
  EXPECT_FALSE(std::equal(part.begin(), part.end(), all.begin() + 700));
}

TEST(TokenSource, ASliceReadsInsideItsSource) {
  const TokenSlice slice(counting(10), 4, 9);
  std::vector<int32_t> out(3);
  EXPECT_EQ(slice.size(), 5);
  slice.read(2, 3, out.data());
  EXPECT_EQ(out, (std::vector<int32_t>{6, 7, 8}));
  EXPECT_THROW(slice.read(3, 3, out.data()), CheckError);
}

TEST(TokenSource, TheLastFractionValidates) {
  EXPECT_EQ(num_train_tokens(1000, 0.05), 950);
  EXPECT_EQ(num_train_tokens(1000, 0), 1000);
  EXPECT_EQ(num_train_tokens(19, 0.05), 19);
  EXPECT_EQ(num_train_tokens(1681818, 0.05), 1597728);
}

}  // namespace
}  // namespace trine
