#include "runtime/measure/samples.h"

#include <gmock/gmock.h>

#include "cluster/cpu_cost.h"

namespace trine {
namespace {

// Others on the machine made four of ten samples longer.
TEST(Samples, WhatOthersSlowedDownDoesNotCount) {
  EXPECT_EQ(quiet_mean({}), 0);
  EXPECT_EQ(quiet_mean({7}), 7);
  EXPECT_NEAR(quiet_mean({100, 104, 102, 300, 110, 101, 250, 114, 1000, 180}),
              (100 + 104 + 102 + 110 + 101 + 114) / 6.0, 1e-9);
  // The first decile of twenty is the third: one that is too short does not decide.
  std::vector<double> samples(20, 100);
  samples[3] = 10;
  EXPECT_NEAR(quiet_mean(samples), (19 * 100 + 10) / 20.0, 1e-9);
}

// How much slower a core got beside others, five times: whatever made one of them long does not count.
TEST(Samples, TheMiddleOneIsNotDisturbed) {
  EXPECT_DOUBLE_EQ(median({1.06, 1.37, 1.05, 1.06, 1.07}), 1.06);
  EXPECT_DOUBLE_EQ(median({34.7, 27.2}), (34.7 + 27.2) / 2);
  EXPECT_DOUBLE_EQ(median({3}), 3);
}

TEST(Samples, AFamilyIsAConstantAndARate) {
  CpuOpCost cost{.by_bytes = false, .shapes = {{1e6, 0, 15}, {1e7, 0, 60}, {1e8, 0, 510}}};
  fit(cost);
  EXPECT_NEAR(cost.constant_us, 10, 1e-6);
  EXPECT_NEAR(cost.giga_per_s, 200, 1e-6);
  cost.shapes = {{1e7, 0, 100}};
  fit(cost);
  EXPECT_EQ(cost.constant_us, 0);
  EXPECT_NEAR(cost.giga_per_s, 100, 1e-9);
  cost.shapes = {{1e6, 0, 100}, {1e7, 0, 100}};  // no work in it
  fit(cost);
  EXPECT_NEAR(cost.constant_us, 100, 1e-6);
  cost.by_bytes = true, cost.shapes = {{0, 0, 3}};
  fit(cost);
  EXPECT_NEAR(cost.constant_us, 3, 1e-9);
  EXPECT_GT(cost.giga_per_s, 0);
}

TEST(Samples, WhatGetsAsSlowAsTheMemoryStreams) {
  EXPECT_NEAR(streaming_part(2, 2, 1), 1, 1e-9);
  EXPECT_NEAR(streaming_part(1.5, 2, 1), 0.5, 1e-9);
  EXPECT_EQ(streaming_part(0.9, 2, 1), 0);
  EXPECT_EQ(streaming_part(3, 2, 1), 1);
  EXPECT_EQ(streaming_part(1.2, 1.2, 1.2), 0);  // nobody can tell
}

}  // namespace
}  // namespace trine
