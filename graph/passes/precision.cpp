#include "graph/passes/precision.h"

#include "graph/builder.h"

namespace trine {

Graph apply_precision(Graph graph, DType compute) {
  Builder builder(std::move(graph));
  for (size_t i = 0; i < builder.graph().states().size(); ++i) {
    State& state = builder.state({static_cast<int32_t>(i)});
    if (state.role != StateRole::kParameter) continue;
    state.type.dtype = compute;
    builder.value(state.value).type.dtype = compute;
  }
  for (Node& node : builder.nodes()) {
    if (auto op = node.op->with_compute_type(compute)) node.op = std::move(op);
    const Types types = infer_types(*node.op, builder.graph().input_types(node), builder.graph().mesh());
    for (size_t i = 0; i < node.outputs.size(); ++i) builder.value(node.outputs[i]).type = types[i];
  }
  return builder.finish();
}

}  // namespace trine
