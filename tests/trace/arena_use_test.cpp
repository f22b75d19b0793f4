#include "trace/arena_use.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/trace/plan_of.h"

namespace trine {
namespace {

Plan small_plan(int ranks, const std::string& flags) {
  return testing::plan_of(ranks,
                          "--layers 8 --hidden 64 --heads 4 --kv-heads 4 --head-dim 16 --ffn 128 --seq 32 "
                          "--global-batch 16 --micro-batch 1 " +
                              flags);
}

TEST(ArenaUse, RisesWithTheMicrobatchesInFlightAndNeverAboveTheArena) {
  for (const char* schedule : {"gpipe", "1f1b", "zero-bubble"}) {
    const Plan plan = small_plan(4, std::string("--pp 4 --schedule ") + schedule);
    for (const StagePlan& stage : plan.stages) {
      const std::vector<int64_t> in_use = arena_in_use(stage);
      ASSERT_EQ(in_use.size(), stage.schedule.size());
      const int64_t most = *std::ranges::max_element(in_use);
      EXPECT_LE(most, stage.memory.total_bytes());
      EXPECT_GT(most, stage.memory.total_bytes() * 9 / 10)
          << schedule << ": a plan that is never full is too large";
      for (const int64_t bytes : in_use) EXPECT_GT(bytes, stage.memory.states_bytes);
    }
  }
  // One microbatch more with each forward of GPipe, one less after each backward.
  const Plan plan = small_plan(2, "--pp 2 --schedule gpipe");
  const std::vector<int64_t> in_use = arena_in_use(plan.stages[0]);
  ASSERT_EQ(in_use.size(), 32u);
  const int64_t microbatch = in_use[2] - in_use[1];
  EXPECT_GT(microbatch, 0);
  for (size_t i = 3; i < 16; ++i) EXPECT_EQ(in_use[i] - in_use[i - 1], microbatch) << i;
  for (size_t i = 18; i < 31; ++i) EXPECT_EQ(in_use[i] - in_use[i - 1], -microbatch) << i;
}

}  // namespace
}  // namespace trine
