// How much arithmetic and memory training takes, and what tensor parallelism needs of a link: closed forms, for
// rules of thumb and for checking what is planned node by node.
#pragma once

#include <cstdint>

#include "models/llama_config.h"

namespace trine {

// --- arithmetic ---

// [m, k] x [k, n]: a multiplication and an addition for each of m * n * k.
inline double product_flops(double m, double k, double n) { return 2 * m * n * k; }
// The gradients of both operands are a product each, as large as the forward one.
inline constexpr double kPassesForward = 1, kPassesBackward = 2;
inline constexpr double kPassesOfAStep = kPassesForward + kPassesBackward;
// Products of weights and tokens, forward and backward: 6 per parameter and token. Without attention's own.
inline double training_flops(double parameters, double tokens) {
  return kPassesOfAStep * product_flops(1, parameters, tokens);
}
// Hours of one device that runs at `utilisation` of `flops_per_s`.
inline double device_hours(double flops, double flops_per_s, double utilisation = 1) {
  return flops / (flops_per_s * utilisation) / 3600;
}
// Devices that are done with so many device-hours after `days`. Not rounded.
inline double devices_for(double hours, double days) { return hours / 24 / days; }
// FLOPs per byte at which a device's arithmetic and a link or memory take equally long.
inline double machine_balance(double flops_per_s, double bytes_per_s) { return flops_per_s / bytes_per_s; }

// Weights of one layer's products: q, k, v, o, gate, up, down.
double layer_parameters(const LlamaConfig& model);
// Of attention scores and values (whole squares), relative to training_flops(parameters): 0.08 for 70B at 4,096.
double attention_share(const LlamaConfig& model, int64_t seq);

// --- memory ---

// Bytes for each parameter in mixed precision with Adam.
struct StateBytes {
  double weights = 2;    // bf16
  double gradients = 4;  // f32, as they are accumulated; 2 if they are kept in bf16
  double optimizer = 12;
  double sum() const { return weights + gradients + optimizer; }
};
inline constexpr double kF32Bytes = 4;
// f32 copies that an optimizer keeps: the master weight, and `moments` (Adam 2, SGD with momentum 1).
inline constexpr double optimizer_bytes(int moments) { return kF32Bytes * (1 + moments); }

// Activations that backward needs of a GPT layer stack, bytes in 16 bits with attention recomputed (Korthikanti et
// al. 2022, without sequence parallelism): s b h L (10 + 24 / t).
double gpt_activation_bytes(double seq, double batch, double hidden, double layers, double tp);
// Of a LLaMA layer stack with fused attention: per token and layer 12 h + 4 kv + 6 ffn + 4 heads.
double llama_activation_bytes(const LlamaConfig& model, double tokens);
// Devices whose memories together hold so much.
double devices_to_hold(double bytes, double memory_bytes);

// How a pipeline orders microbatches: a forward and a backward on every tick, or one forward, one backward.
enum class PipelineOrder { kLockStep, kOneForwardOneBackward };
// Microbatches whose activations the first of `stages` keeps when the pipeline is full: 2 p - 1, or p.
double microbatches_in_flight(PipelineOrder order, double stages);
// (p - 1) / (m + p - 1): the part of a step in which a stage of GPipe or 1F1B waits.
inline double bubble_share(double stages, double microbatches) {
  return (stages - 1) / (microbatches + stages - 1);
}

// What recomputation keeps: only the model's input, so that each layer's backward runs all layers before it once
// more; or each layer's input, so that each layer runs once more.
enum class RecomputeFrom { kModelInput, kLayerInput };
double recomputed_layers(RecomputeFrom from, double layers);
// A step with so many extra layer forwards, relative to one without.
double recompute_factor(double extra_layers, double layers);

// --- tensor parallelism over `tp` devices, bytes in 16 bits ---

// FLOPs for each byte read of the input: products of q, k and v with a device's share of the heads. What the
// article compares with the link.
double qkv_flops_per_byte(double hidden, double tp);
// The devices at which qkv_flops_per_byte falls to the machine's balance.
double qkv_tp_limit(double hidden, double flops_per_s, double bytes_per_s);
// FLOPs of a layer for each byte that a device sends in its two ring all-reduces, forward.
double layer_flops_per_byte(double layer_parameters, double hidden, double tp);
// The devices at which a layer's all-reduces take as long as its products: 1 + 3 layer B / (8 h F), from
// 8 h (t - 1) / B = 3 layer / F.
double layer_tp_limit(double layer_parameters, double hidden, double flops_per_s, double bytes_per_s);

}  // namespace trine
