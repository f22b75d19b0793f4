#include "analysis/inference.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "models/llama.h"

namespace trine {

double kv_cache_bytes(double layers, double kv_width, double tokens) {
  return 2 * layers * kv_width * tokens * kInferenceBytes;
}
double kv_projection_flops(double layers, double hidden, double kv_width, double tokens) {
  return 2 * (2 * hidden * kv_width) * layers * tokens;
}
double balance_batch(double flops_per_s, double bytes_per_s) {
  return flops_per_s / bytes_per_s * kInferenceBytes / 2;
}
double weight_read_s(double parameters, double devices, double bytes_per_s) {
  return kInferenceBytes * parameters / devices / bytes_per_s;
}
double product_s(double tokens, double parameters, double devices, double flops_per_s) {
  return tokens * 2 * parameters / devices / flops_per_s;
}
double activation_bytes(double tokens, double hidden) { return tokens * hidden * kInferenceBytes; }

std::string_view name(InferenceBound bound) {
  constexpr std::string_view kNames[] = {"compute", "memory", "link"};
  return kNames[static_cast<size_t>(bound)];
}

InferenceSplit parse_split(std::string_view text, int devices) {
  const auto number = [](std::string_view part) -> int {
    const auto value = parse_integer(part);
    return value && *value >= 1 && *value <= 1'000'000 ? static_cast<int>(*value) : 0;
  };
  InferenceSplit split;
  const size_t x = text.find('x');
  if (text == "tp")
    split.tp = devices;
  else if (text == "pp")
    split.pp = devices;
  else if (x != text.npos)
    split.tp = number(text.substr(0, x)), split.pp = number(text.substr(x + 1));
  else
    split.tp = 0;
  if (split.tp < 1 || split.pp < 1)
    throw ConfigError(fmt::format("[flags] --split is \"{}\". It needs tp, pp or TPxPP, such as 4x2.", text));
  const int64_t replica = int64_t{split.tp} * split.pp;
  if (devices % replica != 0)
    throw ConfigError(fmt::format(
        "[flags] --split {} takes {} devices, and --devices {} is no multiple of it. Change one of them.", text,
        replica, devices));
  split.replicas = static_cast<int>(devices / replica);
  return split;
}

void validate_split(const LlamaConfig& model, const InferenceSplit& split, Problems& problems) {
  if (model.heads % split.tp != 0)
    problems.add("split", "{} heads cannot be shared by tp {}. Take a tp that divides them.", model.heads,
                 split.tp);
  else if (model.kv_heads % split.tp != 0 && split.tp % model.kv_heads != 0)
    problems.add("split", "{} kv heads and tp {}: neither is a multiple of the other. Take another tp.",
                 model.kv_heads, split.tp);
  if (model.layers < split.pp)
    problems.add("split", "{} layers are fewer than pp {}. Lower pp.", model.layers, split.pp);
}

std::vector<InferenceSplit> possible_splits(const LlamaConfig& model, int devices) {
  std::vector<InferenceSplit> splits;
  for (int tp = devices; tp >= 1; --tp) {
    if (devices % tp != 0) continue;
    const InferenceSplit split{.tp = tp, .pp = devices / tp};
    Problems problems;
    validate_split(model, split, problems);
    if (problems.empty()) splits.push_back(split);
  }
  return splits;
}

namespace {

double real(int64_t value) { return static_cast<double>(value); }

// Weights of a stage: those of its products, and all that it stores.
struct StageWeights {
  double products = 0, stored = 0;
  int64_t layers = 0;
};

std::vector<StageWeights> stage_weights(const LlamaConfig& model, int pp, int64_t context) {
  const double head = real(model.vocab * model.hidden);
  const double layer = (real(matmul_parameters(model)) - head) / real(model.layers);
  std::vector<StageWeights> stages;
  for (const Stage& stage :
       split_layers(model.layers, pp, layer_costs(model, context), parameters_of_parts(model))) {
    StageWeights weights{.layers = stage.end_layer - stage.first_layer};
    weights.products = layer * real(weights.layers) + (stage.is_last() ? head : 0);
    weights.stored = weights.products + 2 * real(model.hidden * weights.layers);
    if (stage.is_last()) weights.stored += real(model.hidden);
    // A tied embedding is stored once where both ends are one stage.
    if (stage.is_first() && !(model.tie_embeddings && stage.is_last())) weights.stored += head;
    stages.push_back(weights);
  }
  return stages;
}

// kv heads that a device holds: those that its query heads read.
double kv_width_per_device(const LlamaConfig& model, int tp) {
  return std::max(1.0, real(model.kv_heads) / tp) * real(model.head_dim);
}

// Of a device of one stage.
struct Memory {
  double weights = 0, kv_per_batch = 0, activations_per_batch = 0;
  double per_batch() const { return kv_per_batch + activations_per_batch; }
  double bytes(int64_t batch) const { return weights + per_batch() * real(batch); }
  int64_t most(double room) const {
    return std::max<int64_t>(0, static_cast<int64_t>(std::floor((room - weights) / per_batch())));
  }
};

std::vector<Memory> device_memory(const InferenceSetup& s, const std::vector<StageWeights>& stages) {
  std::vector<Memory> all;
  for (const StageWeights& stage : stages) {
    const bool last = &stage == &stages.back();
    Memory m;
    m.weights = kInferenceBytes * stage.stored / s.split.tp;
    // The caches of all sequences that are under way, this stage's layers of them.
    m.kv_per_batch =
        kv_cache_bytes(real(stage.layers), kv_width_per_device(s.model, s.split.tp), real(s.context) * s.split.pp);
    // Two residual streams and the FFN's two halves of one layer; logits in f32.
    m.activations_per_batch = activation_bytes(2, real(s.model.hidden)) +
                              activation_bytes(2, real(s.model.ffn) / s.split.tp) +
                              (last ? 4 * real(s.model.vocab) / s.split.tp : 0);
    all.push_back(m);
  }
  return all;
}

}  // namespace

InferenceSize size_inference(const InferenceSetup& s) {
  const LlamaConfig& model = s.model;
  const auto [tp, pp, replicas] = s.split;
  const std::vector<StageWeights> stages = stage_weights(model, pp, s.context);
  const std::vector<Memory> memory = device_memory(s, stages);

  InferenceSize size;
  size.weights_bytes = kInferenceBytes * real(parameter_count(model));
  size.kv_bytes_per_sequence =
      kv_cache_bytes(real(model.layers), real(model.kv_heads * model.head_dim), real(s.context));
  size.balance_batch = balance_batch(s.device.flops_per_s, s.device.bytes_per_s);
  size.max_batch = memory.front().most(s.device.memory_bytes);
  for (const Memory& m : memory) size.max_batch = std::min(size.max_batch, m.most(s.device.memory_bytes));
  const auto balance = static_cast<int64_t>(std::llround(size.balance_batch));
  size.batch = s.batch.value_or(std::max<int64_t>(1, std::min(balance, size.max_batch)));
  size.sequences = size.batch * pp * replicas;
  const Memory fullest =
      *std::ranges::max_element(memory, {}, [&](const Memory& m) { return m.bytes(size.batch); });
  size.device_weights_bytes = fullest.weights;
  size.device_kv_bytes = fullest.kv_per_batch * real(size.batch);
  size.device_activation_bytes = fullest.activations_per_batch * real(size.batch);
  size.fits = size.batch <= size.max_batch;

  const double row_bytes = activation_bytes(real(size.batch), real(model.hidden));
  double slowest_s = 0, device_s = 0;
  for (const StageWeights& stage : stages) {
    const double compute_s = product_s(real(size.batch), stage.products, tp, s.device.flops_per_s);
    const double weights_s = weight_read_s(stage.products, tp, s.device.bytes_per_s);
    const double kv_s =
        kv_cache_bytes(real(stage.layers), kv_width_per_device(model, tp), real(s.context * size.batch)) /
        s.device.bytes_per_s;
    const double reduce_s = tp > 1 ? all_reduces_per_token(real(stage.layers)) * s.all_reduce_s(row_bytes) : 0;
    size.compute_s += compute_s, size.weights_s += weights_s, size.kv_s += kv_s, size.all_reduce_s += reduce_s;
    const double stage_s = std::max(compute_s, weights_s) + kv_s;
    device_s += stage_s;
    slowest_s = std::max(slowest_s, stage_s + reduce_s);
  }
  for (int stage = 0; stage < pp - 1; ++stage) size.hop_s += s.hop_s(stage, row_bytes);
  // The tokens' ids go back to the first stage: a hop, too, but of a few bytes.
  if (pp > 1) size.hop_s += s.hop_s(pp - 1, 4 * real(size.batch));
  // A stage that is slower than the others keeps the batches waiting that follow each other.
  size.latency_s = std::max(device_s + size.all_reduce_s + size.hop_s, pp * slowest_s);
  size.tokens_per_s = tokens_per_s(size.latency_s, real(size.sequences));
  size.tokens_per_s_per_user = tokens_per_s(size.latency_s);
  if (s.usd_per_hour > 0) size.tokens_per_usd = size.tokens_per_s * 3600 / s.usd_per_hour;
  size.bound = size.all_reduce_s + size.hop_s > device_s     ? InferenceBound::kLink
               : size.compute_s > size.weights_s + size.kv_s ? InferenceBound::kCompute
                                                             : InferenceBound::kMemory;
  return size;
}

NearestFit nearest_fit(const InferenceSetup& setup) {
  NearestFit nearest;
  const InferenceSize size = size_inference(setup);
  if (size.max_batch >= 1) nearest.batch = size.max_batch;
  // Memory grows with the context in a straight line.
  InferenceSetup shorter = setup;
  int64_t fits = 0, too_long = setup.context;
  while (too_long - fits > 1) {
    shorter.context = (fits + too_long) / 2;
    (size_inference(shorter).fits ? fits : too_long) = shorter.context;
  }
  if (fits >= 1) nearest.context = fits;
  InferenceSetup larger = setup;
  for (int devices = setup.split.tp * setup.split.pp + 1; devices <= 4096 && !nearest.split; ++devices) {
    for (const InferenceSplit& split : possible_splits(setup.model, devices)) {
      larger.split = split;
      if (!size_inference(larger).fits) continue;
      nearest.split = split;
      break;
    }
  }
  return nearest;
}

}  // namespace trine
