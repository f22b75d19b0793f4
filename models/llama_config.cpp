#include "models/llama_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "base/text.h"
#include "models/llama_fields.h"
#include "ops/optimizer.h"

namespace trine {

const std::array<SizeField, 7> kSizeFields = {{
    {&LlamaConfig::layers, "--layers", "num_hidden_layers", 10'000},
    {&LlamaConfig::hidden, "--hidden", "hidden_size", 1 << 20},
    {&LlamaConfig::heads, "--heads", "num_attention_heads", 1 << 14},
    {&LlamaConfig::kv_heads, "--kv-heads", "num_key_value_heads", 1 << 14},
    {&LlamaConfig::head_dim, "--head-dim", "head_dim", 1 << 12},
    {&LlamaConfig::ffn, "--ffn", "intermediate_size", 1 << 22},
    {&LlamaConfig::vocab, "--vocab", "vocab_size", 1 << 24},
}};

// Half of the blocks that the norm's bins have room for; parts of blocks, at the end of each shard of a parameter,
// are far fewer than the other half.
constexpr int64_t kMaxParameters = SquaredNorm::kMaxBlocks / 2 * SquaredNorm::kBlock;

void validate_relations(const LlamaConfig& c, const std::string& where, Problems& problems) {
  if (c.kv_heads > 0 && c.heads > 0 && c.heads % c.kv_heads != 0)
    problems.add(where,
                 "{} heads of queries cannot share {} heads of keys and values. Make heads a multiple of kv heads.",
                 c.heads, c.kv_heads);
  if (c.head_dim > 0 && c.head_dim % 2 != 0)
    problems.add(where, "head dim {} is odd, but RoPE turns pairs. Make it even.", c.head_dim);
  const RopeScaling& rope = c.rope_scaling;
  if (rope.kind == RopeScaling::Kind::kNone) return;
  if (!(rope.factor >= 1 && rope.factor <= kMaxRopeFactor))
    problems.add(where, "RoPE scaling factor {} is not within 1 and {:g}.", rope.factor, kMaxRopeFactor);
  if (rope.kind != RopeScaling::Kind::kLlama3) return;
  if (!(rope.low_freq_factor > 0 && rope.high_freq_factor > rope.low_freq_factor &&
        rope.high_freq_factor <= kMaxRopeFactor))
    problems.add(where, "RoPE scaling needs 0 < low_freq_factor < high_freq_factor, but they are {} and {}.",
                 rope.low_freq_factor, rope.high_freq_factor);
  if (rope.original_max_position < 1 || rope.original_max_position > kMaxPosition)
    problems.add(where, "RoPE scaling starts from {} original positions; it needs 1 to {}.",
                 rope.original_max_position, kMaxPosition);
}

void validate(const LlamaConfig& config, Problems& problems) {
  for (const SizeField& field : kSizeFields)
    if (const int64_t value = config.*field.member; value < 1 || value > field.max)
      problems.add("model", "{} is {}; it needs 1 to {}.", field.flag, value, field.max);
  const bool countable = std::all_of(kSizeFields.begin(), kSizeFields.end(), [&](const SizeField& field) {
    return config.*field.member >= 1 && config.*field.member <= field.max;
  });
  if (countable && parameter_count(config) > kMaxParameters)
    problems.add("model",
                 "{} parameters are more than {}, the most whose gradient norm can be added up. Lower --layers, "
                 "--hidden, --ffn or --vocab.",
                 format_count(parameter_count(config)), format_count(kMaxParameters));
  const auto within = [&](const char* flag, double value, double max) {
    if (!(value > 0 && value <= max))
      problems.add("model", "{} is {}; it needs more than 0, up to {:g}.", flag, value, max);
  };
  within("--norm-eps", config.norm_eps, kMaxNormEps);
  within("--rope-theta", config.rope_theta, kMaxRopeTheta);
  within("--init-std", config.init_std, kMaxInitStd);
  if (config.max_position < 1 || config.max_position > kMaxPosition)
    problems.add("model", "--max-position is {}; it needs 1 to {}.", config.max_position, kMaxPosition);
  validate_relations(config, "model", problems);
}

namespace {

int64_t layer_matmul_parameters(const LlamaConfig& c) {
  const int64_t attention = c.hidden * c.head_dim * (2 * c.heads + 2 * c.kv_heads);  // q, o and k, v
  return attention + 3 * c.hidden * c.ffn;                                           // gate, up, down
}

}  // namespace

int64_t matmul_parameters(const LlamaConfig& c) {
  return c.layers * layer_matmul_parameters(c) + c.vocab * c.hidden;
}

int64_t parameter_count(const LlamaConfig& c) {
  const int64_t norms = (2 * c.layers + 1) * c.hidden;
  return matmul_parameters(c) + norms + (c.tie_embeddings ? 0 : c.vocab * c.hidden);
}

double model_flops_per_token(const LlamaConfig& c, int64_t seq) {
  return 6.0 * static_cast<double>(matmul_parameters(c)) +
         12.0 * static_cast<double>(c.layers * c.heads * c.head_dim) * static_cast<double>(seq);
}

std::vector<double> rope_inverse_frequencies(const LlamaConfig& c) {
  const RopeScaling& s = c.rope_scaling;
  std::vector<double> frequencies(static_cast<size_t>(c.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double& frequency = frequencies[i];
    frequency = std::pow(c.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim));
    if (s.kind == RopeScaling::Kind::kLinear) frequency /= s.factor;
    if (s.kind == RopeScaling::Kind::kLlama3) {
      // 0 where a frequency turns fewer than low_freq_factor times over the original
      // context, 1 from high_freq_factor on.
      const double turns = static_cast<double>(s.original_max_position) * frequency / (2 * std::numbers::pi);
      const double keep =
          std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
      frequency *= keep + (1 - keep) / s.factor;
    }
  }
  return frequencies;
}

}  // namespace trine
