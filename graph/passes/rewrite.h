// For passes that build the list of nodes anew.
#pragma once

#include <utility>
#include <vector>

#include "graph/builder.h"

namespace trine {

// Takes all nodes out of a graph. Its values stay, and name producers that append() or emit() must bring back.
inline std::vector<Node> take_nodes(Builder& builder) { return std::exchange(builder.nodes(), {}); }

// Adds such a node behind the others, with the values that it had.
inline void append(Builder& builder, Node node) {
  const NodeId id{static_cast<int32_t>(builder.nodes().size())};
  for (ValueId output : node.outputs) builder.value(output).producer = id;
  builder.nodes().push_back(std::move(node));
}

}  // namespace trine
