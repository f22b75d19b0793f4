// Recomputation and the split of backward change no bit of training.
#include <gtest/gtest.h>

#include "data/sampler.h"
#include "models/presets.h"
#include "plan/config/flag_values.h"
#include "runtime/state/parameters.h"
#include "runtime/step/executor.h"

namespace trine {
namespace {

constexpr int kMicrobatches = 4;

struct Result {
  std::vector<double> losses, norms;
  std::vector<std::vector<float>> masters;
  bool operator==(const Result&) const = default;
};

class RecomputeBits : public testing::TestWithParam<DType> {
 protected:
  static Config make_config(Recompute recompute) {
    Config config;
    config.model = find_preset("tiny")->model;
    config.model.layers = 4;
    config.dtype = GetParam();
    config.recompute = recompute;
    config.seq = 16, config.micro_batch = 2, config.global_batch = kMicrobatches * 2, config.threads = 1;
    return config;
  }

  // Three steps; the schedule in place of the plan's, if there is one.
  static Result train(const Config& config, const std::string& schedule = "") {
    Plan plan = build_plan(config);
    StagePlan& stage = plan.stages[0];
    if (!schedule.empty()) {
      stage.schedule = parse_schedule(schedule);
      stage.memory = plan_memory(stage.graph, stage.schedule, config.threads);
    }
    TraceRecorder trace(1 << 14);
    const auto backend = make_cpu_backend(config.threads);
    Executor executor(stage, config, Coordinate{}, *backend, trace, nullptr, std::byte{0xFF});
    set_parameters(executor, initial_values(stage.graph, 7), 1);
    const RandomTokens tokens(static_cast<int32_t>(config.model.vocab), 3);
    std::vector<int32_t> ids(static_cast<size_t>(config.tokens_per_step())), labels(ids.size());
    tokens.read(0, static_cast<int64_t>(ids.size()), ids.data());
    tokens.read(1, static_cast<int64_t>(ids.size()), labels.data());
    Result result;
    for (int step = 1; step <= 3; ++step) {
      const StepResult done =
          executor.train_step({.ids = ids, .labels = labels, .lr = 1e-2f, .loss_scale = 1}, step);
      EXPECT_TRUE(done.applied);
      result.losses.push_back(done.loss);
      result.norms.push_back(done.grad_norm);
    }
    for (const State& state : stage.graph.states())
      if (state.role == StateRole::kParameter && state.name.starts_with("model."))
        result.masters.push_back(read_master(executor, state.name));
    return result;
  }
};

using Kind = Recompute::Kind;

TEST_P(RecomputeBits, EveryPolicyTrainsTheSameModel) {
  const Result expected = train(make_config({}));
  EXPECT_LT(expected.losses[2], expected.losses[0]);
  EXPECT_EQ(expected.masters.size(), 4u * 9 + 2);
  for (const Recompute recompute : {Recompute{Kind::kSelective}, Recompute{Kind::kGroup, 4},
                                    Recompute{Kind::kGroup, 3}, Recompute{Kind::kGroup, 2}, Recompute{Kind::kFull}})
    EXPECT_TRUE(train(make_config(recompute)) == expected) << ValueText<Recompute>::print(recompute);
}

// Behind each I at once, as B has it, and as late as a schedule may put it.
TEST_P(RecomputeBits, ASplitBackwardTrainsTheSameModel) {
  const Result expected = train(make_config({}));
  for (const Recompute recompute : {Recompute{}, Recompute{Kind::kSelective}, Recompute{Kind::kGroup, 2}}) {
    Config config = make_config(recompute);
    config.schedule = ScheduleKind::kZeroBubble;
    for (const char* schedule :
         {"", "0F0 0I0 0W0 0F1 0B1 0F2 0I2 0W2 0F3 0B3", "0F0 0F1 0F2 0F3 0I0 0I1 0I2 0I3 0W0 0W1 0W2 0W3"})
      EXPECT_TRUE(train(config, schedule) == expected) << ValueText<Recompute>::print(recompute) << " " << schedule;
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, RecomputeBits, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace trine
