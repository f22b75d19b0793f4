// The sizes and constants that make one LLaMA model: what Hugging Face's config.json says, in our words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace trine {

// How rotary frequencies are changed to reach beyond the positions a model was first trained on.
struct RopeScaling {
  enum class Kind {
    kNone,
    kLinear,  // all frequencies divided by `factor` (Chen et al. 2023)
    kLlama3,  // low ones divided by `factor`, high ones kept, a ramp between (LLaMA 3.1)
  };
  Kind kind = Kind::kNone;
  double factor = 1;
  // kLlama3 only: the ramp reaches from low_freq_factor to high_freq_factor turns within original_max_position.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position = 8192;

  bool operator==(const RopeScaling&) const = default;
};

struct LlamaConfig {
  int64_t layers = 0;
  int64_t hidden = 0;
  int64_t heads = 0;     // of queries
  int64_t kv_heads = 0;  // of keys and values; divides `heads`
  int64_t head_dim = 0;  // often hidden / heads, but free
  int64_t ffn = 0;       // inner size of the SwiGLU block
  int64_t vocab = 0;
  double norm_eps = 1e-5;
  double rope_theta = 1e4;
  RopeScaling rope_scaling;
  double init_std = 0.02;
  bool tie_embeddings = false;  // the head uses the embedding's weight
  int64_t max_position = 2048;  // told to others at export; nothing here depends on it
  int bos = -1;                 // -1: none
  int pad = -1;                 // told to others at export, as max_position
  std::vector<int> eos;         // any of them ends a text

  bool operator==(const LlamaConfig&) const = default;
};

// Reads config.json as transformers 5 writes it (rope_parameters) and in the older form (rope_theta, rope_scaling).
// Absent fields that have a default in transformers get it. DataError, naming every offending field, for a model
// that is not a LLaMA or that Trine would compute differently. `where` is the file named in the message.
LlamaConfig from_hugging_face(const nlohmann::json& config, const std::string& where);
// The same from a file, or from the config.json in a folder; begin and end of text from generation_config.json
// beside it, where that says them (models/text_ids.h).
LlamaConfig read_hugging_face_config(const std::filesystem::path& path);

// A config.json that transformers 4 and 5 both read. `dtype` is that of the weights beside
// it: "bfloat16", "float16", "float32".
nlohmann::json to_hugging_face(const LlamaConfig& config, std::string_view dtype);

// Adds a problem for each size, constant or combination that is not a model we can build. Fields carry flag names.
void validate(const LlamaConfig& config, Problems& problems);

// All trainable parameters; a tied embedding counts once.
int64_t parameter_count(const LlamaConfig& config);
// Parameters that take part in matrix products: all linear weights with the head (tied or not), without the
// embedding lookup and the norms.
int64_t matmul_parameters(const LlamaConfig& config);
// Model FLOPs of training on one token (forward and backward, no recomputation) at sequence length `seq`:
// 6 N_matmul + 12 layers heads head_dim seq.
double model_flops_per_token(const LlamaConfig& config, int64_t seq);

// The head_dim / 2 rotary frequencies in radians per position, scaling applied, as Hugging Face's
// modeling_rope_utils computes them (there in f32).
std::vector<double> rope_inverse_frequencies(const LlamaConfig& config);

}  // namespace trine
