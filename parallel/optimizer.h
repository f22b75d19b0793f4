// The epilogue of a step: tied gradients summed, gradients reduced over dp (and over tp where the parameter is
// replicated), global norm, clipping, AdamW on every bucket. With ZeRO-1 (assign_buckets) each dp rank gets its
// share of the reduced gradient, updates it, and the compute weights are gathered. Stages add their norms and
// losses. A tied embedding's second user, the last stage, sends its gradient to the first and gets weights back.
#pragma once

#include "graph/graph.h"

namespace trine {

struct OptimizerOptions {
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  float weight_decay = 0.1f;   // of buckets that decay
  float clip = 1.0f;           // largest global gradient norm; 0 = no clipping
  bool shard_over_dp = false;  // as the buckets' (ZeRO-1)
  DType wire = DType::kF32;    // of gradients between ranks: f32, or bf16 to halve the bytes
};

// REQUIRES: assign_buckets has run.
Graph add_optimizer(Graph graph, const OptimizerOptions& options);

}  // namespace trine
