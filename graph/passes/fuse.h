// The fuse pass: two nodes of which one reads what the other made become one, where a fused op computes both in one
// pass over memory. A fused op gives the bits of the two (Op::decompose()), so nothing else changes.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace trine {

// Which ops, and what they become. The link is the value that `first` makes and `second`
// reads (once, as any input).
struct Fusion {
  std::string_view first, second;
  // The link is an output of the fused op too. Otherwise the ops are fused only where nobody else reads it.
  bool keeps_link = true;
  // Its inputs are those of first, then those of second less the link; its outputs those of first (less a link that
  // is not kept), then those of second.
  std::function<OpPtr(const Op& first, const Op& second)> make;
};

// REQUIRES: a differentiated graph (fused ops have no vjp), or one that is only run forward; after the passes that
// clone or move single ops (recompute, split-backward), before in-place and lanes.
Graph fuse(Graph graph, const std::vector<Fusion>& fusions);

}  // namespace trine
