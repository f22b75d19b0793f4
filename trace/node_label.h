// What a trace says of a node of a stage's graph, so that who reads it needs no plan.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace trine {

struct NodeLabel {
  std::string op;     // "linear", "all_gather", "send_grad"
  std::string scope;  // "layers.3.attention"
  std::string phase;  // "F", "I", "W", or "prologue", "epilogue"
  // Of communication only: what one rank gives and gets, and as what type it travels ("bf16").
  std::string dtype;
  int64_t in_elements = 0, out_elements = 0;
  bool operator==(const NodeLabel&) const = default;
};

// Of every node, by its index. Sizes are those of a coordinate whose shards are the largest.
std::vector<NodeLabel> node_labels(const Graph& graph);

// Of a node that sends or receives: the pipeline rank at the other end; else -1.
int32_t peer_of(const Node& node, int pp);

}  // namespace trine
