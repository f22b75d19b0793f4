// The graph that generates text: the forward pass of one sequence, a block of tokens at a time, with the keys and
// values of all earlier tokens in caches.
#pragma once

#include <array>
#include <cstdint>

#include "graph/graph.h"
#include "models/llama_config.h"

namespace trine {

// The graph's two chunks, which share parameters and caches.
inline constexpr int kPrefillChunk = 0;  // `block` tokens of the prompt: reads the weights once
inline constexpr int kDecodeChunk = 1;   // one token: likewise

struct InferenceShape {
  int64_t block = 1;    // tokens of a prefill
  int64_t max_seq = 1;  // rows of the caches, at least `block`
  DType dtype = DType::kF32;
};

struct LlamaInference {
  Graph graph;
  std::array<ValueId, 2> logits;  // by chunk: [1, V], of the chunk's token at `inference_state::kLastRow`
};

// Parameters are states with Hugging Face's names, as in training; over tp they are split alike, and so are the
// caches, by kv heads: a rank has those that its query heads read.
LlamaInference build_llama_inference(const LlamaConfig& config, const InferenceShape& shape, const Mesh& mesh);

// Names of the states that the host writes before a chunk runs.
namespace inference_state {
inline constexpr const char* kBlockIds = "block.ids";      // [block] i32
inline constexpr const char* kTokenId = "token.id";        // [1] i32
inline constexpr const char* kPosition = "step.position";  // [1] i32, of the chunk's first token
inline constexpr const char* kLastRow = "step.last_row";   // [1] i32: behind it, a block is padding
}  // namespace inference_state

}  // namespace trine
