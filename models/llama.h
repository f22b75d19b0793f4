// The forward graph of a LLaMA model, written as in the paper (Touvron et al. 2023).
#pragma once

#include <cstdint>
#include <span>

#include "graph/graph.h"
#include "models/llama_config.h"
#include "parallel/stages.h"

namespace trine {

// One rank's work in a step: M microbatches of B sequences of T tokens.
struct BatchShape {
  int64_t micro_batch = 1;       // B
  int64_t seq = 1;               // T
  int64_t num_microbatches = 1;  // M
  int64_t tokens() const { return micro_batch * seq; }
};

struct LlamaForward {
  Graph graph;
  // Of the last stage, else invalid.
  ValueId logits;  // [B * T, V]
  ValueId loss;    // [1] f32, summed over the microbatch's counted tokens
};

// The stages that one pipeline rank holds, in increasing order (none: the whole model is one stage); they become
// the graph's chunks. Parameters are states with Hugging Face's names; values are f32 until the precision pass. The
// graph's prologue loads the samples and the step's numbers;
// its microbatch region adds the loss into state `loss_sum`.
LlamaForward build_llama(const LlamaConfig& config, const BatchShape& batch, const Mesh& mesh,
                         bool sequence_parallel, std::span<const Stage> chunks = {});

// Multiply-adds of forward per token.
LayerCosts layer_costs(const LlamaConfig& config, int64_t seq);

// Parameters of products and of the table of tokens, which is the head too where embeddings are tied.
LayerCosts parameters_of_parts(const LlamaConfig& config);

// Names of the states through which the host and the optimizer meet the graph.
namespace step_state {
inline constexpr const char* kIds = "batch.ids";
inline constexpr const char* kLabels = "batch.labels";
inline constexpr const char* kLearningRate = "step.lr";
inline constexpr const char* kLossScale = "step.loss_scale";
inline constexpr const char* kValidTokens = "step.valid_tokens";
inline constexpr const char* kLossSum = "step.loss_sum";
inline constexpr const char* kGradNorm = "step.grad_norm";
inline constexpr const char* kFactor = "step.factor";
inline constexpr const char* kApply = "step.apply";
inline constexpr const char* kAdamStep = "step.adam_step";
}  // namespace step_state

}  // namespace trine
