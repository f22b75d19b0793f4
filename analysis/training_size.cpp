#include "analysis/training_size.h"

#include <cmath>

#include "analysis/link_time.h"
#include "models/llama.h"

namespace trine {

double layer_parameters(const LlamaConfig& model) { return parameters_of_parts(model).layer; }

double attention_share(const LlamaConfig& model, int64_t seq) {
  const double products = 6 * static_cast<double>(matmul_parameters(model));
  return (model_flops_per_token(model, seq) - products) /
         training_flops(static_cast<double>(parameter_count(model)), 1);
}

double gpt_activation_bytes(double seq, double batch, double hidden, double layers, double tp) {
  return seq * batch * hidden * layers * (10 + 24 / tp);
}

double llama_activation_bytes(const LlamaConfig& m, double tokens) {
  return tokens * static_cast<double>(m.layers) *
         static_cast<double>(12 * m.hidden + 4 * m.kv_heads * m.head_dim + 6 * m.ffn + 4 * m.heads);
}

double devices_to_hold(double bytes, double memory_bytes) { return std::ceil(bytes / memory_bytes); }

double microbatches_in_flight(PipelineOrder order, double stages) {
  return order == PipelineOrder::kLockStep ? 2 * stages - 1 : stages;
}

double recomputed_layers(RecomputeFrom from, double layers) {
  return from == RecomputeFrom::kModelInput ? layers * (layers + 1) / 2 : layers;
}

double recompute_factor(double extra_layers, double layers) {
  return (kPassesOfAStep * layers + extra_layers) / (kPassesOfAStep * layers);
}

double qkv_flops_per_byte(double hidden, double tp) {
  return 3 * product_flops(1, hidden, hidden / tp) / (2 * hidden);
}

double qkv_tp_limit(double hidden, double flops_per_s, double bytes_per_s) {
  return qkv_flops_per_byte(hidden, 1) / machine_balance(flops_per_s, bytes_per_s);
}

double layer_flops_per_byte(double layer, double hidden, double tp) {
  return product_flops(1, layer, 1) / tp / (2 * ring_all_reduce_bytes(2 * hidden, tp));
}

double layer_tp_limit(double layer, double hidden, double flops_per_s, double bytes_per_s) {
  // A step of a token: four all-reduces of 2 h bytes, of which a device sends 2 (t - 1) / t, and 6 layer / t FLOPs.
  return 1 + training_flops(layer, 1) / flops_per_s * bytes_per_s / (4 * 2 * (2 * hidden));
}

}  // namespace trine
