// The plan of generation: the inference graph of each tensor-parallel rank, and where its bytes lie.
#pragma once

#include "models/llama_inference.h"
#include "plan/memory_plan.h"

namespace trine {

struct InferencePlan {
  LlamaConfig model;
  InferenceShape shape;
  int threads = 1;  // per rank
  Graph graph;
  std::array<ValueId, 2> logits;  // by chunk
  MemoryPlan memory;              // the same on all ranks

  const Mesh& mesh() const { return graph.mesh(); }
  int64_t cache_bytes() const;  // of one rank
  // What a decode step at `position` must read of one rank's memory: the weights, but for the embedding's other
  // rows, and the caches' rows before it. Memory bandwidth over this is the most tokens per second there can be.
  int64_t decode_bytes(int64_t position) const;
};

// ConfigError if the model cannot be split over `tp` ranks. REQUIRES: a validated model.
InferencePlan build_inference_plan(const LlamaConfig& model, const InferenceShape& shape, int tp,
                                   const Target& target);

}  // namespace trine
