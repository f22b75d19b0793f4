// How fast devices that share a model write its tokens, one after another, and how many users they serve at once.
//
// The model is split tp ways within each layer and pp ways by layers. A batch of B sequences passes through a stage
// together, and each stage has its own batch: B * pp sequences are under way in a replica of the model. A token of
// each sequence costs
//   products     the larger of arithmetic (2 FLOPs per weight and sequence) and reading the stage's weights
//   attention    reading the keys and values of the context (with grouped queries: of the kv heads only)
//   links        two all-reduces of B * hidden per layer over tp, and a hop of B * hidden from stage to stage
// Launches, the host and the prompt's own pass are not counted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "models/llama_config.h"

namespace trine {

inline constexpr double kInferenceBytes = 2;  // of a weight, key, value or activation: bf16

// Keys and values of `tokens` tokens. `kv_width`: kv heads * head dim.
double kv_cache_bytes(double layers, double kv_width, double tokens);
// What a cache of so many tokens saves at each further token: their keys and values are not computed again.
double kv_projection_flops(double layers, double hidden, double kv_width, double tokens);
// The batch at which arithmetic takes as long as reading the weights.
double balance_batch(double flops_per_s, double bytes_per_s);
// `parameters` read once by `devices` that share them.
double weight_read_s(double parameters, double devices, double bytes_per_s);
// Forward products of `tokens` tokens on `devices` that share the weights.
double product_s(double tokens, double parameters, double devices, double flops_per_s);
// What a layer hands on: `tokens` rows of `hidden`.
double activation_bytes(double tokens, double hidden);
// All-reduces over tp that a token meets: behind attention and behind the FFN of each layer.
inline double all_reduces_per_token(double layers) { return 2 * layers; }
// Of each user: a token every `latency_s`. Of all: so many at once.
inline double tokens_per_s(double latency_s, double sequences = 1) { return sequences / latency_s; }

// One device as decoding sees it.
struct InferenceDevice {
  double flops_per_s = 0;   // that products reach
  double bytes_per_s = 0;   // of its memory, that reading reaches
  double memory_bytes = 0;  // for weights, caches and activations
};

struct InferenceSplit {
  int tp = 1, pp = 1, replicas = 1;
  int devices() const { return tp * pp * replicas; }
};
// "tp", "pp" or "TPxPP", such as 4x2, over `devices`; what is left over makes replicas. ConfigError.
InferenceSplit parse_split(std::string_view text, int devices);
// All splits of `devices` into one replica that this model allows, tp from large to small.
std::vector<InferenceSplit> possible_splits(const LlamaConfig& model, int devices);
// Adds what keeps this model from being split so.
void validate_split(const LlamaConfig& model, const InferenceSplit& split, Problems& problems);

struct InferenceSetup {
  LlamaConfig model;
  InferenceSplit split;
  int64_t context = 0;           // tokens of each sequence that its cache holds
  std::optional<int64_t> batch;  // sequences in a stage; none: `auto`
  InferenceDevice device;
  std::function<double(double bytes)> all_reduce_s;  // over the tp group
  // A whole activation from a stage to the next; from the last, to the first.
  std::function<double(int stage, double bytes)> hop_s;
  double usd_per_hour = 0;  // of all devices
};

enum class InferenceBound { kCompute, kMemory, kLink };
std::string_view name(InferenceBound bound);  // "compute", "memory", "link"

struct InferenceSize {
  double weights_bytes = 0;          // of the model
  double kv_bytes_per_sequence = 0;  // of the model, `context` tokens
  double device_weights_bytes = 0;   // of the fullest device
  double device_kv_bytes = 0;        // of it, all sequences under way
  double device_activation_bytes = 0;
  double memory_bytes() const { return device_weights_bytes + device_kv_bytes + device_activation_bytes; }
  bool fits = false;

  double balance_batch = 0;  // where arithmetic and reading weights take equally long
  int64_t max_batch = 0;     // that memory has room for; 0: none
  int64_t batch = 0;         // sequences in a stage
  int64_t sequences = 0;     // under way in all stages and replicas

  // Of a token, summed over the stages.
  double compute_s = 0;     // arithmetic of the products
  double weights_s = 0;     // reading the weights
  double kv_s = 0;          // reading keys and values
  double all_reduce_s = 0;  // over tp
  double hop_s = 0;         // over pp
  double latency_s = 0;
  double tokens_per_s = 0;           // of all sequences
  double tokens_per_s_per_user = 0;  // of each
  double tokens_per_usd = 0;         // 0 where no price is known
  InferenceBound bound = InferenceBound::kMemory;
};
// `auto` takes the batch at the balance, or less where memory has no room for it. REQUIRES: validate_split found
// nothing. Where it does not fit, the times are those of the same batch with enough memory.
InferenceSize size_inference(const InferenceSetup& setup);

// What would fit, for one that does not. Each changes one thing.
struct NearestFit {
  std::optional<int64_t> batch;         // at the same context
  std::optional<int64_t> context;       // at a batch of 1 where none was given, else at that one
  std::optional<InferenceSplit> split;  // the fewest devices
};
NearestFit nearest_fit(const InferenceSetup& setup);

}  // namespace trine
