// Reverse-mode automatic differentiation: emits backward nodes; backward is graph, never code.
#pragma once

#include <functional>

#include "graph/builder.h"
#include "graph/graph.h"

namespace trine {

// The ops that autodiff itself needs (they live in ops/, a later layer).
struct GradientOps {
  OpPtr add;                              // a + b, where a value is used more than once
  OpPtr accumulate;                       // f32 state += value, where a parameter's gradient arrives
  std::function<ValueId(Builder&)> seed;  // d loss / d loss: loss_scale / valid tokens
};

// Appends, in phase I of the microbatch region, the nodes that compute the gradient of value `loss`, and adds for
// every parameter that reaches it an f32 accumulator state `grad.<name>` of the dual placement, which they end in.
Graph differentiate(Graph forward, ValueId loss, const GradientOps& ops);

}  // namespace trine
