#include "graph/passes/in_place.h"

#include <algorithm>
#include <set>

#include "graph/builder.h"

namespace trine {
namespace {

// The values that a transfer takes away: nothing else may live in their bytes.
std::set<ValueId> sent_values(const Graph& graph) {
  std::set<ValueId> sent;
  for (const Node& node : graph.nodes())
    if (node.op->is_transfer()) sent.insert(node.inputs.begin(), node.inputs.end());
  return sent;
}

bool may_overwrite(const Graph& graph, const std::vector<int>& last_use, int at, const Node& node,
                   const InPlace& offer) {
  const ValueId input = node.inputs[static_cast<size_t>(offer.input)];
  const Value& value = graph[input];
  const TensorType& output = graph[node.outputs[static_cast<size_t>(offer.output)]].type;
  return !value.state.valid() && last_use[static_cast<size_t>(input.index)] == at &&
         std::count(node.inputs.begin(), node.inputs.end(), input) == 1 && value.type == output;
}

}  // namespace

Graph choose_in_place(Graph graph) {
  const std::vector<int> last_use = graph.last_uses();
  const std::set<ValueId> sent = sent_values(graph);
  Builder builder(std::move(graph));
  int at = 0;
  for (Node& node : builder.nodes()) {
    node.in_place.clear();
    for (const InPlace& offer : node.op->in_place()) {
      const bool taken = std::any_of(node.in_place.begin(), node.in_place.end(), [&](const InPlace& chosen) {
        return chosen.output == offer.output || chosen.input == offer.input;
      });
      if (taken || sent.contains(node.outputs[static_cast<size_t>(offer.output)])) continue;
      if (may_overwrite(builder.graph(), last_use, at, node, offer)) node.in_place.push_back(offer);
    }
    // Outputs side by side stay so only if all of them move into buffers that are side by side already.
    if (node.op->outputs_side_by_side() && node.in_place.size() != node.outputs.size()) node.in_place.clear();
    ++at;
  }
  return builder.finish();
}

}  // namespace trine
