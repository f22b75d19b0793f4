// --grad-reduce bf16: half the bytes between dp ranks, the same sum for ZeRO and without, close to f32's.
#include <gtest/gtest.h>

#include "comm/world.h"
#include "tests/runtime/local_training.h"

namespace trine {
namespace {

constexpr const char* kModel =
    "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --head-dim 8 --ffn 40 --vocab 67 --seq 12 --global-batch 12 "
    "--dtype f32 --steps 6 --threads 1 --micro-batch 1 ";

TrainingRun train(int ranks, const std::string& flags) {
  const Config config = config_of(ranks, kModel + flags);
  return train_locally(config, 4, random_batches(config));
}

int64_t dp_bytes(const TrainingRun& run) { return run.wire_bytes[static_cast<size_t>(Group::kDp)]; }

TEST(GradReduceBf16, HalvesTheBytesAndStaysClose) {
  const TrainingRun f32 = train(3, "--zero 0"), bf16 = train(3, "--zero 0 --grad-reduce bf16");
  for (size_t i = 0; i < f32.losses.size(); ++i) {
    EXPECT_NEAR(bf16.losses[i] / f32.losses[i], 1, 1e-4);
    EXPECT_NEAR(bf16.norms[i] / f32.norms[i], 1, 4e-3);
  }
  EXPECT_NE(bf16.norms[0], f32.norms[0]) << "nothing was rounded";
  EXPECT_NEAR(static_cast<double>(dp_bytes(bf16)) / static_cast<double>(dp_bytes(f32)), 0.5, 0.02);
}

TEST(GradReduceBf16, ZeroChangesNoBit) {
  EXPECT_EQ(train(3, "--zero 1 --grad-reduce bf16"), train(3, "--zero 0 --grad-reduce bf16"));
  EXPECT_EQ(train(4, "--zero 1 --grad-reduce bf16"), train(4, "--zero 0 --grad-reduce bf16"));
}

}  // namespace
}  // namespace trine
