// The split-backward pass: divides backward into I, which the stage before waits for, and W, which nobody waits for
// (Qi et al. 2023, zero-bubble pipeline parallelism).
//
// I is what the gradient of the stage's input needs, transitively; W is all else: weight gradients and the
// accumulation of norms' gradients. A node that serves both is in I. The input's gradient is found in two ways:
//   - nodes without outputs and writes are exits of backward: they send a gradient to the stage before;
//   - the gradient of the earliest forward value. On the first stage, where there is no exit, that is the
//     embedding's output: nobody waits for its gradient, but so the first stage's I and W cost what the others' do,
//     which is what schedules assume.
// A recomputed node that only W needs runs in I too, so that what it reads dies there. But where the result is
// larger than what is read, W does it: so with a gather for a weight gradient, or for the embedding's.
#pragma once

#include "graph/graph.h"

namespace trine {

// REQUIRES: a differentiated graph, before lanes and waits are assigned.
Graph split_backward(Graph graph);

}  // namespace trine
