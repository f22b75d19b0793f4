// Training on a GPU beside training on the CPU: the same plan, weights and samples.
#include <cmath>
#include <gtest/gtest.h>

#include "data/sampler.h"
#include "plan/plan.h"
#include "runtime/step/executor.h"
#include "tests/runtime/cuda_device.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

class CudaTraining : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_gpu()) GTEST_SKIP() << "no GPU";
  }
};

// Stretches of one short text, so that there is something to learn, at a rate that rises for 20 steps.
BatchSource stretches(const Config& config) {
  return [config](int step) {
    constexpr int64_t kText = 2048;
    const RandomTokens tokens(static_cast<int32_t>(config.model.vocab), 5);
    std::vector<int32_t> text(kText + config.seq + 1);
    tokens.read(0, kText, text.data());
    std::copy(text.begin(), text.begin() + config.seq + 1, text.begin() + kText);
    Batch batch;
    batch.lr = 3e-4f * std::min(1.0f, static_cast<float>(step + 1) / 20);
    for (int64_t row = 0; row < config.global_batch; ++row) {
      const auto from = text.begin() + (step * config.global_batch + row) * 131 % kText;
      batch.ids.insert(batch.ids.end(), from, from + config.seq);
      batch.labels.insert(batch.labels.end(), from + 1, from + config.seq + 1);
    }
    return batch;
  };
}

TrainingRun train_on_gpu(Config config, int steps) {
  config.device = DeviceKind::kCuda;
  return train_locally(config, steps, stretches(config), {}, [](CommWorld&, const Config& of_rank) {
    return RankDevice{make_cuda_backend(0, of_rank.kernels), nullptr};
  });
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i] / want[i], 1, tolerance) << "step " << i + 1;
}

constexpr const char* kTiny = "--model tiny --steps 50 --threads 1 ";

TEST_F(CudaTraining, FiftyStepsOfTinyInF32AreThoseOfTheCpu) {
  const Config config = config_of(1, std::string(kTiny) + "--dtype f32");
  const TrainingRun cpu = train_locally(config, 50, stretches(config)), gpu = train_on_gpu(config, 50);
  EXPECT_LT(cpu.losses.back(), cpu.losses.front() - 0.5) << "nothing was learnt";
  expect_near(gpu.losses, cpu.losses, 1e-4);
}

TEST_F(CudaTraining, FiftyStepsOfTinyInBf16AreThoseOfTheCpu) {
  const Config config = config_of(1, std::string(kTiny) + "--dtype bf16");
  expect_near(train_on_gpu(config, 50).losses, train_locally(config, 50, stretches(config)).losses, 2e-3);
}

TEST_F(CudaTraining, TheSameTrainingTwiceGivesTheSameBits) {
  const Config config = config_of(1, std::string(kTiny) + "--dtype bf16 --device cuda --deterministic on");
  EXPECT_TRUE(train_on_gpu(config, 5) == train_on_gpu(config, 5));
}

TEST_F(CudaTraining, GraphsGiveTheSameBits) {
  for (const char* dtype : {"f32", "bf16"}) {
    const std::string flags = std::string(kTiny) + "--device cuda --deterministic on --dtype " + dtype;
    EXPECT_TRUE(train_on_gpu(config_of(1, flags + " --cuda-graphs on"), 6) ==
                train_on_gpu(config_of(1, flags + " --cuda-graphs off"), 6))
        << dtype;
  }
}

// Four ranks on one GPU, staged through the host.
TEST_F(CudaTraining, TensorAndPipelineRanksOnOneGpuEqualOneRank) {
  for (const auto& [dtype, tolerance] : {std::pair{"f32", 1e-5}, {"bf16", 2e-3}}) {
    const std::string flags = std::string(kTiny) + "--dtype " + dtype;
    const TrainingRun one = train_on_gpu(config_of(1, flags), 20);
    const TrainingRun four = train_on_gpu(config_of(4, flags + " --tp 2 --pp 2"), 20);
    expect_near(four.losses, one.losses, tolerance);
  }
}

TEST_F(CudaTraining, DataParallelRanksOnOneGpuEqualOneRank) {
  const std::string flags = std::string(kTiny) + "--dtype f32 --micro-batch 4";
  const TrainingRun one = train_on_gpu(config_of(1, flags), 20), two = train_on_gpu(config_of(2, flags), 20);
  expect_near(two.losses, one.losses, 1e-5);
}

TEST_F(CudaTraining, EventsOfTheStepAreInOrderAndWithinIt) {
  const Config config = config_of(1, std::string(kTiny) + "--device cuda");
  const Plan plan = build_plan(config);
  const auto backend = make_cuda_backend(0);
  TraceRecorder trace(1 << 16);
  Executor executor(plan.stages[0], config, {}, *backend, trace);
  set_parameters(executor, initial_values(plan.stages[0].graph, 1), 1);
  const Batch batch = stretches(config)(0);
  for (int step = 1; step <= 2; ++step) {
    const int64_t begin_ns = now_ns();
    executor.train_step({.ids = batch.ids, .labels = batch.labels, .lr = batch.lr}, step);
    const auto events = trace.step(step);
    ASSERT_FALSE(events.empty());
    constexpr int64_t kSlack = 100'000;  // of the two clocks
    EXPECT_GE(events.front().t0_ns, begin_ns - kSlack);
    EXPECT_LE(events.back().t1_ns, now_ns() + kSlack);
    for (const TraceEvent& event : events) EXPECT_LE(event.t0_ns, event.t1_ns);
  }
}

TEST_F(CudaTraining, MemoryIsZeroedAndComesBackAsItWasWritten) {
  const auto backend = make_cuda_backend(0);
  constexpr size_t kBytes = (size_t{9} << 20) + 3;  // more than the staging takes at once
  const auto memory = backend->allocate(kBytes);
  std::vector<std::byte> host(kBytes, std::byte{1}), back(kBytes, std::byte{2});
  backend->read(memory->data(), back);
  EXPECT_TRUE(std::all_of(back.begin(), back.end(), [](std::byte b) { return b == std::byte{0}; }));
  for (size_t i = 0; i < kBytes; ++i) host[i] = static_cast<std::byte>(i * 2654435761u >> 13);
  backend->write(host, memory->data());
  backend->read(memory->data(), back);
  EXPECT_TRUE(host == back);
  EXPECT_GT(backend->room()->total_bytes, 0);
  EXPECT_EQ(backend->identity().size(), 32u);
}

}  // namespace
}  // namespace trine
