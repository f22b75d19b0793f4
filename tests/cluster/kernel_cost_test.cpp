#include "cluster/kernel_cost.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "ops/attention.h"
#include "ops/cross_entropy.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/optimizer.h"
#include "ops/rms_norm.h"

namespace trine {
namespace {

struct MeasuredProduct {
  double m, n, k, microseconds;
};
// Every tenth of the products that microsoft/vidur measured in f16 on an A100 80 GB (data/profiling/compute/a100).
constexpr MeasuredProduct kMeasured[] = {
    {16, 2752, 4096, 21},        {16, 3072, 4096, 22},      {16, 3456, 5120, 30},
    {16, 11008, 4096, 58},       {16, 11008, 8192, 120},    {16, 14336, 4096, 87.5},
    {16, 44032, 8192, 459},      {64, 1536, 4096, 15},      {64, 3456, 5120, 33},
    {64, 3584, 4096, 26},        {64, 3840, 5120, 33},      {64, 7680, 5120, 59},
    {64, 11008, 8192, 118},      {64, 12288, 8192, 138},    {64, 28672, 8192, 325},
    {64, 57344, 8192, 608},      {128, 768, 4096, 13},      {128, 1280, 8192, 26},
    {128, 2752, 4096, 27},       {128, 3072, 4096, 29},     {128, 5504, 8192, 83},
    {128, 7168, 4096, 58},       {128, 12288, 4096, 74.5},  {128, 14336, 8192, 206},
    {128, 28672, 8192, 418},     {128, 49152, 8192, 523},   {256, 3584, 4096, 50},
    {256, 11008, 8192, 213},     {256, 28672, 8192, 564},   {256, 49152, 8192, 948.5},
    {512, 14336, 8192, 547},     {512, 24576, 8192, 934},   {512, 28672, 8192, 1116},
    {1024, 1280, 8192, 119},     {1024, 24576, 8192, 1897}, {1536, 768, 4096, 59},
    {1536, 2560, 8192, 331},     {1536, 2560, 8192, 333},   {1536, 3072, 4096, 177},
    {1536, 5120, 8192, 613},     {1536, 6144, 8192, 668},   {1536, 10240, 8192, 1256.5},
    {1536, 11008, 8192, 1153},   {1536, 27648, 5120, 1845}, {1536, 28672, 4096, 1591},
    {2048, 5120, 8192, 719},     {2048, 6144, 4096, 438},   {2048, 6144, 4096, 467},
    {2048, 6144, 8192, 885},     {2048, 7680, 2560, 398.5}, {2048, 10240, 8192, 1458.5},
    {2048, 28672, 4096, 2248.5}, {2048, 28672, 8192, 4080}, {3072, 1920, 5120, 276},
    {3072, 7680, 2560, 544},     {3072, 12288, 8192, 2548}, {3072, 27648, 5120, 3565},
    {3072, 57344, 8192, 11937},  {4096, 6144, 4096, 1013},  {4096, 28672, 4096, 4127},
};

TEST(KernelCost, ProductsOfAnA100) {
  const Profile profile = load_profile("a100-80-sxm");
  double sum = 0, worst = 0;
  for (const auto& [m, n, k, microseconds] : kMeasured) {
    const double predicted = product_s(profile.device, DType::kF16, m, n, k) + profile.device.launch_us * 1e-6;
    const double error = std::abs(predicted / (microseconds * 1e-6) - 1);
    sum += error, worst = std::max(worst, error);
  }
  const double mean = sum / std::size(kMeasured);
  RecordProperty("mean_percent", std::to_string(100 * mean));
  EXPECT_LE(mean, 0.08);
  EXPECT_LE(worst, 0.5);
}

// [T, T] scores of 16 heads and 8 sequences, as Megatron-LM of 2021 kept them: a softmax reads and writes them, a
// dropout reads and writes them and a mask of bytes; backward, both again with one operand more.
TEST(KernelCost, UnfusedAttentionMovesItsScores) {
  constexpr int64_t kSeq = 2048, kHeads = 16, kBatch = 8, kHeadDim = 128;
  const Shape q = {kSeq * kBatch, kHeads * kHeadDim};
  DeviceProfile device = load_profile("a100-80-sxm").device;
  const double scores = static_cast<double>(kSeq * kSeq * kHeads * kBatch), product = 2 * scores * kHeadDim;
  const auto seconds = [&](const Op& op) {
    const Cost cost = {.flops = product, .bytes_read = 1, .bytes_written = 1};
    return kernel_s(device, op, std::vector<Shape>(6, q), std::vector<Shape>(3, q), cost, DType::kF16);
  };
  const double fused = seconds(Attention(kSeq, kHeadDim)), fused_grad = seconds(AttentionGrad(kSeq, kHeadDim));
  device.unfused_attention = 1;
  const double forward = seconds(Attention(kSeq, kHeadDim)), grad = seconds(AttentionGrad(kSeq, kHeadDim));
  const double bandwidth = device.memory_gb_per_s * 1e9, peak = device.peak_flops(DType::kF16);
  EXPECT_GT(forward, 9 * scores / bandwidth + 2 * product / peak);
  EXPECT_GT(grad, 11 * scores / bandwidth + 4 * product / peak);
  // No more than at half of the peak and of the bandwidth.
  EXPECT_LT(forward, 2 * (9 * scores / bandwidth + 2 * product / peak));
  EXPECT_LT(grad, 2 * (11 * scores / bandwidth + 4 * product / peak));
  device.unfused_attention = 2;
  EXPECT_NEAR(seconds(AttentionGrad(kSeq, kHeadDim)), forward + grad, 1e-9);
  // Heads of 108 numbers are no multiples of 16 bytes: no tensor cores, a sixteenth of the rate.
  const Shape odd = {kSeq * kBatch, kHeads * 108};
  const double without = kernel_s(device, Attention(kSeq, 108), std::vector<Shape>(3, odd),
                                  std::vector<Shape>(2, odd), Cost(), DType::kF16);
  EXPECT_GT(without, 4 * scores * 108 / (device.f32_tflops * 1e12));
  EXPECT_GT(forward, 2 * fused);
  EXPECT_GT(grad, fused_grad);
}

// Two heads of one sequence on a rank: four does not divide them, and scale, mask, softmax and roundings are kernels of
// their own that write f32 scores; four heads have one kernel.
TEST(KernelCost, TheSoftmaxOfAFewHeadsWasNotOneKernel) {
  constexpr int64_t kSeq = 2048, kHeadDim = 128;
  DeviceProfile device = load_profile("a100-80-sxm").device;
  const auto seconds = [&](const Op& op, int64_t heads) {
    return kernel_s(device, op, std::vector<Shape>(6, Shape{kSeq, heads * kHeadDim}), {}, Cost(), DType::kF16);
  };
  const auto counted = [&](const Op& op, int64_t heads) {
    return launches(device, op, std::vector<Shape>(6, Shape{kSeq, heads * kHeadDim}));
  };
  const Attention forward(kSeq, kHeadDim);
  const AttentionGrad grad(kSeq, kHeadDim);
  EXPECT_EQ(counted(forward, 2), 1);  // of one kernel for all
  device.unfused_attention = 1;
  EXPECT_EQ(counted(forward, 4), 1);
  EXPECT_EQ(counted(forward, 2), 5);
  EXPECT_EQ(counted(grad, 6), 5);
  EXPECT_EQ(counted(RmsNormGradAdd(), 2), 1);
  // 36 bytes a score, and not 4 or (backward) 6; products of 4 heads are no more than twice those of 2.
  const double more = kSeq * kSeq * 2 / (2039e9 * 0.774);
  EXPECT_GT(2 * seconds(forward, 2) - seconds(forward, 4), 2 * 32 * more);
  EXPECT_GT(2 * seconds(grad, 2) - seconds(grad, 4), 2 * 30 * more);
  EXPECT_LT(seconds(forward, 2) - seconds(forward, 4) / 2, 40 * more + 5 * 7e-6);
}

// A gradient that is made by itself: 4,096 x 1,024 weights are read, read and written in f16, by a kernel of its own.
TEST(KernelCost, GradientsThatAreAddedAfterwards) {
  DeviceProfile device = load_profile("a100-80-sxm").device;
  const std::vector<Shape> in = {{512, 1024}, {512, 4096}}, table = {{32000, 1024}};
  const Cost product = {.flops = 2.0 * 512 * 1024 * 4096, .bytes_read = 1, .bytes_written = 1};
  const auto seconds = [&](const Op& op, std::span<const Shape> out) {
    return kernel_s(device, op, in, out, product, DType::kF16);
  };
  const double fused = seconds(LinearGradWeight(), {}), rows = seconds(EmbeddingGrad(32000), table);
  device.accumulate_bytes = 6;
  const double weight_s = 6 / (2039e9 * 0.774);
  EXPECT_NEAR(seconds(LinearGradWeight(), {}) - fused, 7e-6 + 4096 * 1024 * weight_s, 1e-9);
  EXPECT_NEAR(seconds(EmbeddingGrad(32000), table) - rows, 7e-6 + 32000 * 1024 * weight_s, 1e-9);
}

// Logits of 50,257 tokens in f16 have rows of 100,514 bytes, those of 50,304 are multiples of 16: forward and both ways
// back.
TEST(KernelCost, RowsThatAreNotAlignedTakeLonger) {
  const DeviceProfile device = load_profile("a100-80-sxm").device;
  const auto seconds = [&](const Op& op, int64_t vocab, DType dtype) {
    const std::vector<Shape> in = {{8192, 768}, {8192, vocab}}, out = {{8192, 768}};
    const Cost cost = {.flops = 2.0 * 8192 * 768 * static_cast<double>(vocab), .bytes_read = 1, .bytes_written = 1};
    return kernel_s(device, op, in, out, cost, dtype);
  };
  const Linear forward;
  const LinearGradInput input_grad;
  const LinearGradWeight weight_grad;
  for (const Op* op : std::initializer_list<const Op*>{&forward, &input_grad, &weight_grad}) {
    const double ratio = seconds(*op, 50257, DType::kF16) / seconds(*op, 50304, DType::kF16);
    EXPECT_GT(ratio, 1.5) << op->name();
    EXPECT_LT(ratio, 2.0) << op->name();
    EXPECT_NEAR(seconds(*op, 50260, DType::kF32) / seconds(*op, 50264, DType::kF32), 1, 0.01) << op->name();
  }
}

// Norms and losses as kernels of their own: by hand, of 1,024 x 4,096 numbers in f16 and 1,024 x 50,000 logits.
TEST(KernelCost, UnfusedPassesMoveMore) {
  DeviceProfile device = load_profile("a100-80-sxm").device;
  const std::vector<Shape> x(5, Shape{1024, 4096}), logits(4, Shape{1024, 50000});
  const auto seconds = [&](const Op& op, const std::vector<Shape>& in) {
    return kernel_s(device, op, in, in, {.flops = 1, .bytes_read = 1, .bytes_written = 1}, DType::kF16);
  };
  const std::vector<double> fused = {seconds(AddRmsNorm(RmsNorm(1e-5f)), x), seconds(RmsNormGradAdd(), x),
                                     seconds(CrossEntropy(), logits)};
  const std::vector<Shape> gradients(5, Shape{1000000});
  const double adamw = seconds(AdamW(), gradients);
  device.unfused_passes = 1;
  EXPECT_NEAR(seconds(AdamW(), gradients) - adamw, 4 * 7e-6 + 26e6 / (2039e9 * 0.774), 1e-9);
  const double byte_s = 1 / (2039e9 * 0.774);
  EXPECT_NEAR(seconds(AddRmsNorm(RmsNorm(1e-5f)), x) - fused[0], 7e-6 + 1024 * 4096 * 3 * byte_s, 1e-9);
  EXPECT_NEAR(seconds(RmsNormGradAdd(), x) - fused[1], 4 * 7e-6 + 1024 * 4096 * 15 * byte_s, 1e-9);
  EXPECT_NEAR(seconds(CrossEntropy(), logits) - fused[2], 6 * 7e-6 + 1024 * 50000 * 38 * byte_s, 1e-9);
}

// vTrain's optimizer, Apex's FusedAdam on f16 weights with f32 moments and no copy of the weights: 2 bytes of the gradient,
// 4 of the weight, 16 of the moments, in a few launches for all weights. Its measured steps on an A100 40 GB say 26.2
// bytes at the memory's peak, which is 22 at 84 % of it.
TEST(KernelCost, AnotherOptimizerMovesItsOwnBytes) {
  DeviceProfile device = load_profile("a100-40-sxm").device;
  device.optimizer_bytes = 22, device.host_us = 100;
  const std::vector<Shape> weights(5, Shape{1000000});
  const Cost cost{.flops = 1, .bytes_read = 100, .bytes_written = 100};
  const double bytes_per_s = device.memory_gb_per_s * 1e9 * device.memory_share;
  EXPECT_NEAR(kernel_s(device, AdamW(), weights, weights, cost, DType::kF16), 22e6 / bytes_per_s, 1e-12);
  EXPECT_NEAR(kernel_s(device, AdamW(), weights, weights, cost, DType::kF16), 26.2e6 / 1555e9,
              0.12 * 26.2e6 / 1555e9);
  EXPECT_EQ(kernel_s(device, SquaredNorm(true), weights, weights, cost, DType::kF16), 0);
  EXPECT_EQ(launches(device, AdamW(), weights), 0);
  device.optimizer_bytes = 0;
  EXPECT_GT(kernel_s(device, SquaredNorm(true), weights, weights, cost, DType::kF16), 0);
  EXPECT_EQ(launches(device, AdamW(), weights), 1);
}

TEST(KernelCost, NoProductBeatsThePeakOrTheMemory) {
  for (const std::string& name : built_in_profiles()) {
    const DeviceProfile device = load_profile(name).device;
    for (const double m : {1.0, 17.0, 512.0, 4096.0, 100000.0})
      for (const double n : {64.0, 1000.0, 8192.0})
        for (const double k : {64.0, 5000.0, 30000.0}) {
          const double s = product_s(device, DType::kBF16, m, n, k);
          EXPECT_GE(s, 2 * m * n * k / device.peak_flops(DType::kBF16)) << name;
          EXPECT_GE(s, 2 * (m * k + k * n + m * n) / (device.memory_gb_per_s * 1e9)) << name;
          // A faster card is never slower.
          DeviceProfile faster = device;
          faster.bf16_tflops *= 1.3;
          EXPECT_LE(product_s(faster, DType::kBF16, m, n, k), s) << name;
        }
  }
}

}  // namespace
}  // namespace trine
