// How much of its arena a rank writes: what the plan reserves on this machine's kernels is used.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "plan/plan.h"
#include "runtime/step/fit_workspace.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

struct Case {
  const char* name;
  int ranks;
  const char* flags;
};

// A plan is for any CPU until it is known which.
TEST(FittedWorkspace, IsOfTheKernelsOfThisMachine) {
  Config config = config_of(1, "--model tiny --global-batch 24 --micro-batch 4 --threads 1");
  Plan plan = build_plan(config);
  const MemoryPlan any = plan.stages[0].memory;
  fit_workspace(plan, *make_cpu_backend(1));
  const MemoryPlan& fitted = plan.stages[0].memory;
  EXPECT_GT(fitted.workspace_bytes, 0);
  EXPECT_LT(fitted.workspace_bytes, any.workspace_bytes);
  EXPECT_EQ(fitted.workspace_begin(), any.workspace_begin());
  int64_t sum = 0;
  for (const MemoryLine& line : fitted.table) sum += line.bytes;
  EXPECT_EQ(sum, fitted.total_bytes());
  EXPECT_EQ(fitted.used.back().end, fitted.total_bytes());

  config.device = DeviceKind::kCuda;
  plan = build_plan(config);
  const int64_t of_gpu = plan.stages[0].memory.workspace_bytes;
  fit_workspace(plan, *make_cpu_backend(1));
  EXPECT_EQ(plan.stages[0].memory.workspace_bytes, of_gpu);
}

class MemoryUse : public testing::TestWithParam<Case> {};

TEST_P(MemoryUse, IsWhatThePlanReserves) {
  const Config config =
      config_of(GetParam().ranks, fmt::format("--model tiny --global-batch 24 --threads 1 {}", GetParam().flags));
  const TrainingRun run = train_locally(config, 1, random_batches(config));
  for (const double share : run.touched) EXPECT_GE(share, 0.97);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, MemoryUse,
    testing::Values(Case{"one_rank_1", 1, "--micro-batch 1"}, Case{"one_rank_4", 1, "--micro-batch 4"},
                    Case{"one_rank_f32", 1, "--micro-batch 2 --dtype f32"},
                    Case{"one_rank_fp16", 1, "--micro-batch 2 --dtype fp16"}, Case{"dp", 2, "--micro-batch 4"},
                    Case{"tp", 2, "--tp 2 --micro-batch 4"},
                    Case{"tp_full", 2, "--tp 2 --micro-batch 2 --recompute full"},
                    Case{"pp", 2, "--pp 2 --micro-batch 3"},
                    Case{"pp_selective", 2, "--pp 2 --micro-batch 2 --recompute selective"},
                    Case{"gpipe", 2, "--pp 2 --schedule gpipe --micro-batch 4"},
                    Case{"interleaved", 2, "--pp 2 --schedule interleaved --vpp 2 --micro-batch 4"},
                    Case{"zero_bubble", 2, "--pp 2 --schedule zero-bubble --micro-batch 4"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace trine
