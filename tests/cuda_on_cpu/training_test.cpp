// Whole training steps by the CUDA backend: its kernels, its streams, events and graphs, under the executor. Beside the
// CPU's numbers, and by graphs the same bits as without.
#include <gtest/gtest.h>

#include "runtime/device/backend.h"
#include "tests/cuda_on_cpu/runtime.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

// --deterministic on: no products are timed, and no file of choices is read.
constexpr const char* kModel =
    "--layers 2 --hidden 16 --heads 4 --kv-heads 2 --head-dim 4 --ffn 24 --vocab 67 --seq 8 --global-batch 4 "
    "--micro-batch 1 --steps 6 --threads 1 --device cuda --deterministic on ";
constexpr int kSteps = 4;

Config config_for(int ranks, const std::string& flags) { return config_of(ranks, kModel + flags); }

// Learning rate and samples differ from step to step.
BatchSource changing_batches(const Config& config) {
  return [batches = random_batches(config)](int step) {
    Batch batch = batches(step);
    batch.lr = 1e-3f / static_cast<float>(step + 1);
    return batch;
  };
}

TrainingRun train_on_cuda(const Config& config) {
  return train_locally(config, kSteps, changing_batches(config), {}, [](CommWorld& world, const Config& c) {
    return RankDevice{make_cuda_backend(c.mesh.rank(world.coordinate()) % on_cpu::kNumDevices, c.kernels), nullptr};
  });
}

TrainingRun train_on_cpu(Config config) {
  config.device = DeviceKind::kCpu;
  return train_locally(config, kSteps, changing_batches(config));
}

void expect_near(const TrainingRun& got, const TrainingRun& want, double tolerance) {
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i] / want.losses[i], 1, tolerance) << "step " << i + 1;
    EXPECT_NEAR(got.norms[i] / want.norms[i], 1, 10 * tolerance) << "step " << i + 1;
  }
}

TEST(TrainingOnCudaOnCpu, LossesAreThoseOfTheCpu) {
  for (const auto& [dtype, tolerance] : {std::pair{"f32", 1e-5}, {"bf16", 2e-3}}) {
    const Config config = config_for(1, std::string("--cuda-graphs off --dtype ") + dtype);
    expect_near(train_on_cuda(config), train_on_cpu(config), tolerance);
  }
}

TEST(TrainingOnCudaOnCpu, GraphsGiveTheSameBits) {
  for (const auto& [ranks, layout] :
       {std::pair{1, "--tie-embeddings on"}, {1, "--recompute full"}, {2, "--tp 2 --sp on"}, {2, "--pp 2"}}) {
    const std::string flags = std::string("--dtype bf16 ") + layout;
    const int64_t wrong = on_cpu::calls_on_wrong_device(), before = on_cpu::graphs_launched();
    const TrainingRun plain = train_on_cuda(config_for(ranks, flags + " --cuda-graphs off"));
    EXPECT_EQ(on_cpu::graphs_launched(), before);
    const TrainingRun replayed = train_on_cuda(config_for(ranks, flags + " --cuda-graphs on"));
    EXPECT_GT(on_cpu::graphs_launched(), before + 10);
    EXPECT_TRUE(replayed == plain) << layout;
    EXPECT_EQ(on_cpu::num_graphs(), 0);
    EXPECT_EQ(on_cpu::calls_on_wrong_device(), wrong) << layout;
  }
}

}  // namespace
}  // namespace trine
