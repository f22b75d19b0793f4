// Every layout trains the model of one rank, within what another order of sums may change
// (INTERFACE.md, "Tolerances").
#include <cctype>
#include <cmath>
#include <gtest/gtest.h>
#include <map>

#include "plan/learning_rate.h"
#include "tests/runtime/layout_cases.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

constexpr int kSteps = 20;

// ||a - b|| / ||b||
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double x = a.at(i), y = b[i];
    difference += (x - y) * (x - y), norm += y * y;
  }
  return std::sqrt(difference / norm);
}

TrainingRun train(int ranks, const std::string& flags, int steps) {
  const Config config = config_of(ranks, flags);
  return train_locally(config, steps, [&config, samples = random_batches(config)](int step) {
    Batch batch = samples(step);
    batch.lr = static_cast<float>(learning_rate(config, step));
    return batch;
  });
}

const TrainingRun& one_rank(const std::string& flags) {
  static std::map<std::string, TrainingRun> runs;
  const auto [run, missing] = runs.try_emplace(flags);
  if (missing) run->second = train(1, flags + " --micro-batch 4", kSteps);
  return run->second;
}

// Of an f32 run at every step, of a bf16 run the gradient norm of the first step only: Adam amplifies rounding.
void expect_same_model(const LayoutCase& c, const std::string& dtype, int steps = kSteps) {
  const bool f32 = dtype == "f32";
  const double loss_limit = f32 ? 1e-5 : 2e-3, norm_limit = f32 ? 1e-4 : 5e-3;
  const std::string model = model_flags(c) + " --dtype " + dtype;
  SCOPED_TRACE(std::to_string(num_ranks(c)) + " ranks: " + model + layout_flags(c));
  const TrainingRun& want = one_rank(model);
  const TrainingRun got = train(num_ranks(c), model + layout_flags(c), steps);
  for (size_t i = 0; i < static_cast<size_t>(steps); ++i) {
    ASSERT_NEAR(got.losses.at(i) / want.losses.at(i), 1, loss_limit) << "step " << i;
    if (f32 || i == 0) {
      ASSERT_NEAR(got.norms.at(i) / want.norms.at(i), 1, norm_limit) << "step " << i;
    }
  }
  if (!f32 || steps < kSteps) return;
  for (const auto& [name, weights] : want.masters)
    EXPECT_LT(relative_error(got.masters.at(name), weights), 3e-5) << name;
}

std::string case_name(const testing::TestParamInfo<LayoutCase>& info) {
  std::string name;
  for (size_t factor = 0; factor < info.param.size(); ++factor) {
    const std::string text = value(info.param, static_cast<LayoutFactorIndex>(factor));
    name += (name.empty() ? "" : "_") + layout_factors()[factor].name.substr(0, 2) + text.substr(0, text.find(' '));
  }
  std::erase_if(name, [](unsigned char c) { return !std::isalnum(c) && c != '_'; });
  return name;
}

class LayoutMatrix : public testing::TestWithParam<LayoutCase> {};
TEST_P(LayoutMatrix, TrainsTheModelOfOneRank) { expect_same_model(GetParam(), "f32"); }
INSTANTIATE_TEST_SUITE_P(Pairwise, LayoutMatrix, testing::ValuesIn(PairwiseCases().make()), case_name);

class LayoutMatrixBF16 : public testing::TestWithParam<LayoutCase> {};
TEST_P(LayoutMatrixBF16, TrainsTheModelOfOneRank) { expect_same_model(GetParam(), "bf16"); }
std::vector<LayoutCase> some_cases() {
  std::vector<LayoutCase> some, all = PairwiseCases().make();
  for (size_t i = 0; i < all.size(); i += 5) some.push_back(all[i]);
  return some;
}
INSTANTIATE_TEST_SUITE_P(Pairwise, LayoutMatrixBF16, testing::ValuesIn(some_cases()), case_name);

// Without what makes no difference: nothing to shard where dp = 1, no tokens to split where tp = 1.
bool is_redundant(const LayoutCase& c) {
  return (number(c, kDp) == 1 && value(c, kZero) == "1") || (number(c, kTp) == 1 && value(c, kSp) == "on");
}

class AllLayouts : public testing::TestWithParam<std::tuple<size_t, size_t, size_t>> {};
TEST_P(AllLayouts, LongWithEveryOption) {
  const auto [tp, pp, dp] = GetParam();
  for_each_layout_case([&, tp = tp, pp = pp, dp = dp](const LayoutCase& c) {
    if (c[kTp] != tp || c[kPp] != pp || c[kDp] != dp || !can_stand_together(c) || is_redundant(c)) return;
    expect_same_model(c, "f32", 5);
  });
}
INSTANTIATE_TEST_SUITE_P(Cross, AllLayouts,
                         testing::Combine(testing::Range<size_t>(0, 3), testing::Range<size_t>(0, 4),
                                          testing::Range<size_t>(0, 2)));

// What can stand together stands together in a case; each layout is there.
TEST(LayoutCases, CoverEveryPair) {
  const std::vector<LayoutCase> cases = PairwiseCases().make();
  EXPECT_LE(cases.size(), 60u);
  std::set<LayoutPair> possible, covered;
  std::set<std::array<size_t, 3>> possible_layouts, layouts;
  for_each_layout_case([&](const LayoutCase& c) {
    if (!can_stand_together(c)) return;
    possible.merge(pairs_of(c));
    possible_layouts.insert({c[kTp], c[kPp], c[kDp]});
  });
  for (const LayoutCase& c : cases) {
    EXPECT_TRUE(can_stand_together(c));
    covered.merge(pairs_of(c));
    layouts.insert({c[kTp], c[kPp], c[kDp]});
  }
  EXPECT_EQ(possible_layouts.size(), 20u);
  EXPECT_EQ(layouts, possible_layouts);
  for (const auto& [a, x, b, y] : possible)
    EXPECT_TRUE(covered.contains({a, x, b, y}))
        << "--" << layout_factors()[a].name << " " << layout_factors()[a].values[x] << " with --"
        << layout_factors()[b].name << " " << layout_factors()[b].values[y];
}

}  // namespace
}  // namespace trine
