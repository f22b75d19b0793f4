// The in-place pass: where an op may write an output over an input and nobody reads that input later, it does.
#pragma once

#include "graph/graph.h"

namespace trine {

Graph choose_in_place(Graph graph);

}  // namespace trine
