#include "runtime/step/executor.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "data/sampler.h"
#include "models/llama.h"
#include "models/presets.h"
#include "runtime/device/process_memory.h"
#include "runtime/state/parameters.h"
#include "runtime/step/fit_workspace.h"

namespace trine {
namespace {

class ExecutorTest : public testing::Test {
 protected:
  static Config make_config() {
    Config config;
    config.model = find_preset("tiny")->model;
    config.model.layers = 2;
    config.seq = 32, config.global_batch = 8, config.micro_batch = 2, config.threads = 2;
    return config;
  }
  void make(std::optional<std::byte> fill = std::nullopt) {
    plan_ = build_plan(config_);
    fit_workspace(plan_, *backend_);
    executor_ =
        std::make_unique<Executor>(plan_.stages[0], config_, Coordinate{}, *backend_, trace_, nullptr, fill);
    set_parameters(*executor_, initial_values(plan_.stages[0].graph, 7), 2);
    const RandomTokens tokens(static_cast<int32_t>(config_.model.vocab), 3);
    ids_.resize(static_cast<size_t>(config_.tokens_per_step()));
    labels_.resize(ids_.size());
    tokens.read(0, static_cast<int64_t>(ids_.size()), ids_.data());
    tokens.read(1, static_cast<int64_t>(ids_.size()), labels_.data());
  }
  HostStep host(float lr = 1e-3f) const { return {.ids = ids_, .labels = labels_, .lr = lr, .loss_scale = 1}; }

  Config config_ = make_config();
  TraceRecorder trace_{1 << 14};
  std::unique_ptr<Backend> backend_ = make_cpu_backend(2);
  Plan plan_;
  std::unique_ptr<Executor> executor_;
  std::vector<int32_t> ids_, labels_;
};

TEST_F(ExecutorTest, BytesThatThePlanCallsUnusedKeepTheirFill) {
  constexpr std::byte kFill{0xA5};
  make(kFill);
  for (int step = 1; step <= 3; ++step) EXPECT_TRUE(executor_->train_step(host(), step).applied);
  const MemoryPlan& memory = plan_.stages[0].memory;
  std::vector<bool> used(static_cast<size_t>(memory.total_bytes()), false);
  for (const ByteRange& range : memory.used) std::fill(used.begin() + range.begin, used.begin() + range.end, true);
  int64_t unused = 0, touched = 0;
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i]) ++unused, touched += executor_->arena()[i] != kFill;
  EXPECT_EQ(touched, 0);
  EXPECT_GT(unused, 0) << "the test sees nothing if no byte is unused";
}

// What a step leaves in transients must not matter to the next one.
TEST_F(ExecutorTest, GarbageInTheArenaChangesNoBit) {
  make();
  std::vector<double> clean, dirty;
  for (int step = 1; step <= 3; ++step) clean.push_back(executor_->train_step(host(), step).loss);
  make(std::byte{0xFF});  // NaN in every type
  for (int step = 1; step <= 3; ++step) dirty.push_back(executor_->train_step(host(), step).loss);
  EXPECT_EQ(clean, dirty);
}

TEST_F(ExecutorTest, ResidentMemoryIsThePlans) {
  config_.model.hidden = 512, config_.model.head_dim = 128, config_.model.ffn = 1376;
  make();
  for (int step = 1; step <= 2; ++step) executor_->train_step(host(), step);
  const MemoryPlan& memory = plan_.stages[0].memory;
  const auto planned = static_cast<double>(memory.total_bytes());
  const auto resident =
      static_cast<double>(resident_bytes_in(executor_->arena().data(), executor_->arena().size()));
  EXPECT_LE(resident / planned, 1.01);
  EXPECT_GE(resident / planned, 0.97);
}

TEST_F(ExecutorTest, EventsCoverEveryNodeOfTheStep) {
  make();
  executor_->train_step(host(), 5);
  const auto events = trace_.step(5);
  size_t expected = 0;
  for (const Node& node : plan_.stages[0].graph.nodes()) expected += node.region == Region::kMicrobatch ? 4 : 1;
  EXPECT_EQ(events.size(), expected);
  for (size_t i = 1; i < events.size(); ++i) EXPECT_EQ(events[i].t0_ns, events[i - 1].t1_ns);
}

TEST_F(ExecutorTest, NonFiniteStepIsNotAppliedAndNamed) {
  make();
  const auto before = read_master(*executor_, "model.norm.weight");
  const TensorView weight = executor_->view("model.layers.1.mlp.up_proj.weight");
  weight.as<BFloat16>()[5] = to_bf16(std::numeric_limits<float>::infinity());
  const StepResult result = executor_->train_step(host(), 1);
  EXPECT_FALSE(result.applied);
  EXPECT_EQ(read_master(*executor_, "model.norm.weight"), before);
  EXPECT_EQ(executor_->scalar<int32_t>(step_state::kAdamStep), 0);
  const auto culprit = executor_->find_non_finite(host(), 1);
  ASSERT_TRUE(culprit.has_value());
  EXPECT_TRUE(culprit->tensor.starts_with("layers.1.ffn: linear")) << culprit->tensor;
}

TEST_F(ExecutorTest, TheSameStepTwiceGivesTheSameBits) {
  make();
  const StepResult zero = executor_->train_step(host(0), 1), again = executor_->train_step(host(0), 2);
  EXPECT_EQ(zero.loss, again.loss);  // lr 0: the same step twice
  EXPECT_EQ(zero.grad_norm, again.grad_norm);
  EXPECT_EQ(zero.valid_tokens, static_cast<double>(config_.tokens_per_step()));
}

}  // namespace
}  // namespace trine
