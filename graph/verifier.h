// Checks a whole graph. Run after every pass.
#pragma once

#include "graph/graph.h"

namespace trine {

// Throws TypeError, with ten lines of the graph and an arrow, unless
//   - every value is defined before it is used, in its own region, and no phase runs backwards;
//   - every node's output types and placements are what its op infers, and fit the states it writes;
//   - every gradient has its value's shape and the dual placement on each axis;
//   - an output written over an input is allowed by the op, and nobody reads that input later.
void verify(const Graph& graph);

}  // namespace trine
