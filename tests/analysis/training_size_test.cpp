#include "analysis/training_size.h"

#include <gtest/gtest.h>

#include "analysis/link_time.h"
#include "models/presets.h"

namespace trine {
namespace {

const LlamaConfig& model() { return find_preset("llama2-70b")->model; }

TEST(TrainingSize, SixFlopsPerParameterAndToken) {
  EXPECT_EQ(product_flops(3, 5, 7), 210);
  EXPECT_EQ(training_flops(70e9, 2e12), 6 * 70e9 * 2e12);
  // two thirds of a model's FLOPs but attention's are what models/ counts node by node
  EXPECT_NEAR(1 + attention_share(model(), 4096), 1.07783, 0.01);
  EXPECT_NEAR(devices_for(1720320, 30), 2389.33, 0.01);
  // LLaMA-2 70B: 2 T tokens in 1,720,320 A100 hours are 43 % of peak (the paper's numbers)
  EXPECT_NEAR(device_hours(training_flops(70e9, 2e12), 312e12, 0.43), 1720320, 0.02 * 1720320);
}

TEST(TrainingSize, LayersOf70B) {
  EXPECT_EQ(layer_parameters(model()), 2.0 * 8192 * 8192 + 2.0 * 8192 * 1024 + 3.0 * 8192 * 28672);
  EXPECT_NEAR(llama_activation_bytes(model(), 8 * 4096), 720.078e9, 1e6);
  EXPECT_NEAR(gpt_activation_bytes(4096, 8, 8192, 80, 1), 730.144e9, 1e6);
  // Korthikanti et al. 2022, GPT-3 175B: 34 s b h without tensor parallelism, 10 + 24 / 8 = 13 with 8 ways
  EXPECT_EQ(gpt_activation_bytes(1, 1, 1, 1, 8), 13);
}

TEST(TrainingSize, PipelinesAndRecomputation) {
  EXPECT_EQ(microbatches_in_flight(PipelineOrder::kLockStep, 80), 159);
  EXPECT_EQ(microbatches_in_flight(PipelineOrder::kOneForwardOneBackward, 80), 80);
  EXPECT_NEAR(bubble_share(80, 80), 0.496855, 1e-6);
  EXPECT_EQ(recomputed_layers(RecomputeFrom::kModelInput, 80), 3240);
  EXPECT_NEAR(recompute_factor(80, 80), 4.0 / 3, 1e-12);
  EXPECT_NEAR(recompute_factor(3240, 80), 14.5, 1e-12);
}

TEST(TrainingSize, LimitsOfTensorParallelism) {
  EXPECT_NEAR(qkv_tp_limit(8192, 330e12, 32e9), 2.38313, 1e-5);
  const double layer = layer_parameters(model());
  // reference values: FP32 sums on paper and on the measured link, A100 SXM, H100 SXM
  EXPECT_NEAR(layer_tp_limit(layer, 8192, 165.2e12, 32e9), 8.58702, 1e-4);
  EXPECT_NEAR(layer_tp_limit(layer, 8192, 165.2e12, 14.5e9), 4.43787, 1e-4);
  EXPECT_NEAR(layer_tp_limit(layer, 8192, 312e12, 300e9), 38.6615, 1e-3);
  EXPECT_NEAR(layer_flops_per_byte(layer, 8192, 64), 414.476, 1e-3);
  // at the limit a layer's four all-reduces of a step take as long as its products
  const double t = layer_tp_limit(layer, 8192, 165.2e12, 32e9);
  const double link_s = 4 * transfer_s(ring_all_reduce_bytes(2 * 8192, t), 32e9);
  EXPECT_NEAR(link_s, training_flops(layer, 1) / t / 165.2e12, 1e-12);
}

TEST(LinkTime, UnitsOfLinks) {
  EXPECT_EQ(bytes_per_s_of_gbit(200), 25e9);
  EXPECT_NEAR(pcie_bytes_per_s(16, 16), 31.5077e9, 1e5);
  EXPECT_EQ(ring_all_reduce_bytes(8, 1), 0);
  EXPECT_EQ(ring_all_reduce_bytes(8, 8), 14);
  EXPECT_NEAR(ring_all_reduce_s(8e9, 8, 1e9, 1e-3), 14 + 14e-3, 1e-9);
}

}  // namespace
}  // namespace trine
