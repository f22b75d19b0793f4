#include "runtime/training/loss_scaler.h"

#include <gtest/gtest.h>

namespace trine {
namespace {

TEST(LossScaler, DoublesAfterCleanStepsAndHalvesOnOverflow) {
  LossScaler scaler(LossScale{.dynamic = true});
  EXPECT_EQ(scaler.scale(), 65536);
  for (int i = 0; i < 999; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
  for (int i = 0; i < 999; ++i) scaler.update(true);
  scaler.update(false);  // the count starts again
  EXPECT_EQ(scaler.scale(), 65536);
  for (int i = 0; i < 999; ++i) scaler.update(true);
  EXPECT_EQ(scaler.scale(), 65536);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 131072);
  EXPECT_FALSE(scaler.exhausted());
}

TEST(LossScaler, IsExhaustedOnlyWhenAScaleOfOneOverflows) {
  LossScaler scaler(LossScale{.dynamic = true});
  for (int i = 0; i < 16; ++i) scaler.update(false);
  EXPECT_EQ(scaler.scale(), 1);
  EXPECT_FALSE(scaler.exhausted());
  scaler.update(false);
  EXPECT_TRUE(scaler.exhausted());
  EXPECT_EQ(scaler.scale(), 1);
}

TEST(LossScaler, NeverGrowsOutOfF32) {
  LossScaler scaler(LossScale{.dynamic = true});
  for (int i = 0; i < 200'000; ++i) scaler.update(true);
  EXPECT_LE(scaler.scale(), 0x1p60);
  const double largest = scaler.scale();
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), largest / 2);
}

TEST(LossScaler, AFixedScaleStays) {
  for (double fixed : {1.0, 128.0}) {
    LossScaler scaler(LossScale{.dynamic = false, .value = fixed});
    for (int i = 0; i < 3000; ++i) scaler.update(i % 7 != 0);
    EXPECT_EQ(scaler.scale(), fixed);
    EXPECT_FALSE(scaler.exhausted());
    EXPECT_FALSE(scaler.dynamic());
  }
}

}  // namespace
}  // namespace trine
