// The recompute pass: decides which forward values are kept for backward. What backward reads of the others is
// rebuilt by clones of the nodes that made them: the same op on the same inputs, so not a bit changes. Clones run
// in phase I, right before their first use.
//
//   none        keeps all, but for what no policy keeps: the output of a sequence-parallel all_gather (its shard is
//               kept, and gathered again)
//   selective   drops what costs bytes but few FLOPs (Op::rebuild() says so): norm outputs, the SwiGLU
//               product, casts.
//               RoPE's outputs stay: in their place its inputs, just as large, would have to
//   group       keeps the input of each group of K decoder layers (Chen et al. 2016); embedding and head as in none
#pragma once

#include "graph/graph.h"

namespace trine {

struct RecomputeOptions {
  enum class Policy : uint8_t { kNone, kSelective, kGroup } policy = Policy::kNone;
  int64_t layers_per_group = 1;  // K; the layers of a chunk are counted from its first one
};

// REQUIRES: a differentiated graph whose decoder layers have scopes "layers.N...", before in-place and lanes.
Graph recompute(Graph graph, const RecomputeOptions& options);

}  // namespace trine
