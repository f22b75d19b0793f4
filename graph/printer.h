// The graph as text that a person can read: one line per node, states with their types where they are first read.
#pragma once

#include <string>

#include "graph/graph.h"

namespace trine {

std::string print(const Graph& graph);
std::string print_node(const Graph& graph, const Node& node);
// Ten lines around node `index`, with an arrow at it: what an error shows.
std::string print_around(const Graph& graph, size_t index);

}  // namespace trine
