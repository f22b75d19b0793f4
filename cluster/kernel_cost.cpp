#include "cluster/kernel_cost.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/attention.h"

namespace trine {
namespace {

struct Tile {
  double rows, columns;
  double share;  // of what the largest tile reaches
};
// Fitted to the products of tests/cluster/kernel_cost_test.cpp.
constexpr std::array<Tile, 5> kTiles = {
    {{256, 128, 1}, {128, 256, 1}, {128, 128, 1}, {128, 64, 0.955}, {64, 64, 0.654}}};
constexpr double kShortestSplit = 256;  // of k

bool is_product(std::string_view op) { return op.starts_with("linear"); }

// What passes over the scores read and write: of the compute type, beside a mask of a byte each for the dropout.
constexpr double kForwardPasses = 4, kBackwardPasses = 5;  // softmax and dropout; dropout and softmax backward

// Tensor cores want operands whose rows are multiples of 16 bytes (NVIDIA, "Matrix multiplication background user's
// guide", section 4.1). For others the libraries have kernels that load and multiply less at once: nanoGPT trained
// about 25 % faster with 50,304 tokens instead of 50,257 (A. Karpathy, 2023), which is 16 % with this factor.
constexpr double kAlignedBytes = 16, kUnalignedFactor = 1.8;

bool is_aligned(double row, DType dtype) {
  return std::fmod(row * static_cast<double>(size_bytes(dtype)), kAlignedBytes) == 0;
}

constexpr double kFusedSoftmax_heads = 4;     // divide sequences times heads
constexpr double kUnfusedSoftmaxKernels = 5;  // instead of one
// Of a score: to f32, scale, mask, softmax and back to the compute type, each read and written.
constexpr double kUnfusedSoftmaxBytes = 6 + 8 + 8 + 8 + 6;

bool softmax_is_fused(double heads) { return std::fmod(heads, kFusedSoftmax_heads) == 0; }

// Of all sequences; q [N, H * D]
double heads_of(const Shape& q, double seq, double head_dim) {
  return static_cast<double>(q.num_elements()) / head_dim / seq;
}

// q [N, H * D]
double unfused_attention_s(DeviceProfile device, DType dtype, const Shape& q, double seq, double head_dim,
                           bool backward) {
  // Batched products of that time had no tensor core kernels for others (BLOOM's steps with heads of 108 and 150).
  if (!is_aligned(head_dim, dtype)) device.bf16_tflops = device.fp16_tflops = device.f32_tflops;
  const double heads = heads_of(q, seq, head_dim), scores = heads * seq * seq;
  const double width = static_cast<double>(size_bytes(dtype));
  double passes = (backward ? kBackwardPasses : kForwardPasses) * width + 1, kernels = backward ? 6 : 4;
  if (!softmax_is_fused(heads)) {
    passes += kUnfusedSoftmaxBytes - (backward ? 3 : 2) * width;
    kernels += kUnfusedSoftmaxKernels - 1;
  }
  const double products = product_s(device, dtype, seq, seq, head_dim, heads) +
                          (backward ? 3 : 1) * product_s(device, dtype, seq, head_dim, seq, heads);
  return products + scores * passes / (device.memory_gb_per_s * 1e9 * device.memory_share) +
         kernels * device.launch_us * 1e-6;
}

// Of a weight's gradient that is made by itself first and then added to those of earlier microbatches.
double accumulate_s(const DeviceProfile& device, double weights) {
  if (device.accumulate_bytes == 0) return 0;
  return device.launch_us * 1e-6 +
         weights * device.accumulate_bytes / (device.memory_gb_per_s * 1e9 * device.memory_share);
}

// What kernels of their own move beside what the fused ones do, for each number of the first operand, and how many
// they are. Forward of a norm: the sum with bias and dropout is written, with a mask of a byte, and read again.
// Backward: gradients of the norm's weights and of the bias, the sum of both ways, the dropout. Loss: logits in f32;
// their maximum, difference, exponential, sum and quotient, each a pass (Megatron-LM 2021, vocab_parallel_cross_entropy).
// Optimizer: f16 gradients copied to f32, unscaled, clipped, and the weights read once more to be rounded.
struct Passes {
  std::string_view op;
  double numbers, bytes, kernels;
};
constexpr auto kPasses = std::to_array<Passes>({{"add_rms_norm", 1, 1, 1},
                                                {"rms_norm_grad", 2, 0, 1},
                                                {"rms_norm_grad_add", 7, 1, 4},
                                                {"vocab_stats", 1, 36, 6},
                                                {"cross_entropy", 1, 36, 6},
                                                {"vocab_stats_grad", 0, 12, 1},
                                                {"cross_entropy_grad", 0, 12, 1},
                                                {"adamw", 0, 26, 4}});

// A few kernels update all weights (Apex's multi_tensor_apply): their launches count for nothing.
bool is_of_other_optimizer(const DeviceProfile& device, const Op& op) {
  return device.optimizer_bytes > 0 && (op.name() == "adamw" || op.name() == "squared_norm");
}

double unfused_passes_s(const DeviceProfile& device, const Op& op, const Shape& first, DType dtype) {
  const auto* const found = std::ranges::find(kPasses, op.name(), &Passes::op);
  if (device.unfused_passes == 0 || found == kPasses.end()) return 0;
  const double bytes = found->numbers * static_cast<double>(size_bytes(dtype)) + found->bytes;
  return found->kernels * device.launch_us * 1e-6 +
         static_cast<double>(first.num_elements()) * bytes / (device.memory_gb_per_s * 1e9 * device.memory_share);
}

}  // namespace

double product_s(const DeviceProfile& device, DType dtype, double m, double n, double k, double batch) {
  const double bandwidth = device.memory_gb_per_s * 1e9 * device.memory_share;
  const double per_processor = device.peak_flops(dtype) / device.multiprocessors * device.product_share;
  double best = std::numeric_limits<double>::infinity();
  for (const Tile& tile : kTiles)
    for (const double split : {1.0, 2.0, 4.0, 8.0}) {
      if (split > 1 && k / split < kShortestSplit) break;
      const double tiles = batch * std::ceil(m / tile.rows) * std::ceil(n / tile.columns);
      const double waves = tiles * split / device.multiprocessors;
      const double counted = std::max(1.0, 0.5 * (waves + std::ceil(waves)));
      const double sums = split > 1 ? split * batch * m * n * 8 / bandwidth : 0;  // f32, written and read
      best =
          std::min(best, counted * 2 * tile.rows * tile.columns * k / split / (per_processor * tile.share) + sums);
    }
  return std::max(best, static_cast<double>(size_bytes(dtype)) * batch * (m * k + n * k + m * n) / bandwidth);
}

double kernel_s(const DeviceProfile& device, const Op& op, std::span<const Shape> in, std::span<const Shape> out,
                const Cost& cost, DType dtype) {
  if (op.is_view() || op.is_transfer()) return 0;
  const double launch = device.launch_us * 1e-6;
  const double streamed = static_cast<double>(cost.bytes_read + cost.bytes_written) /
                          (device.memory_gb_per_s * 1e9 * device.memory_share);
  if (is_product(op.name()) && cost.flops > 0) {
    // What is merged (q, k and v) is one product: its third extent follows from the arithmetic.
    const Shape& known = op.name() == "linear_dx" ? out[0] : in[0];
    const auto rows = static_cast<double>(known.num_rows()), columns = static_cast<double>(known.num_columns());
    const double other = std::round(cost.flops / (2 * rows * columns));
    const double factor = is_aligned(columns, dtype) && is_aligned(other, dtype) ? 1 : kUnalignedFactor;
    if (op.name() == "linear") return launch + factor * product_s(device, dtype, rows, other, columns);
    if (op.name() == "linear_dx") return launch + factor * product_s(device, dtype, rows, columns, other);
    return launch + factor * product_s(device, dtype, columns, other, rows) + accumulate_s(device, columns * other);
  }
  if (device.unfused_attention > 0) {
    if (const auto* const forward = dynamic_cast<const Attention*>(&op))
      return unfused_attention_s(device, dtype, in[0], static_cast<double>(forward->seq),
                                 static_cast<double>(forward->head_dim), false);
    if (const auto* const grad = dynamic_cast<const AttentionGrad*>(&op)) {
      const auto seconds = [&](bool backward) {
        return unfused_attention_s(device, dtype, in[0], static_cast<double>(grad->seq),
                                   static_cast<double>(grad->head_dim), backward);
      };
      return seconds(true) + (device.unfused_attention >= 2 ? seconds(false) : 0);
    }
  }
  if (op.name().starts_with("attention")) {
    const double share = op.name() == "attention" ? device.attention_share : device.attention_grad_share;
    return launch + std::max(streamed, cost.flops / (device.peak_flops(dtype) * share));
  }
  if (op.name() == "embedding_grad" && !out.empty())
    return launch + streamed + accumulate_s(device, static_cast<double>(out[0].num_elements()));
  if (is_of_other_optimizer(device, op))
    return op.name() == "adamw" ? static_cast<double>(in[0].num_elements()) * device.optimizer_bytes /
                                      (device.memory_gb_per_s * 1e9 * device.memory_share)
                                : 0;
  return launch + streamed + (in.empty() ? 0 : unfused_passes_s(device, op, in[0], dtype));
}

double launches(const DeviceProfile& device, const Op& op, std::span<const Shape> in) {
  if (is_of_other_optimizer(device, op)) return 0;
  if (device.unfused_attention == 0) return 1;
  const auto of = [&](const auto& attention) {
    const double heads =
        heads_of(in[0], static_cast<double>(attention.seq), static_cast<double>(attention.head_dim));
    return softmax_is_fused(heads) ? 1 : kUnfusedSoftmaxKernels;
  };
  if (const auto* const forward = dynamic_cast<const Attention*>(&op)) return of(*forward);
  if (const auto* const grad = dynamic_cast<const AttentionGrad*>(&op)) return of(*grad);
  return 1;
}

}  // namespace trine
