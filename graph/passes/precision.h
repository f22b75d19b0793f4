// The precision pass: parameters that compute uses become copies in the compute type, and every value's type is
// inferred anew. Statistics (norms' rstd, attention's lse, the loss) and gradients of parameters stay f32, because
// the ops that make them say so. There are no casts in the graph: f32 masters are the optimizer's.
#pragma once

#include "graph/graph.h"

namespace trine {

Graph apply_precision(Graph graph, DType compute);

}  // namespace trine
