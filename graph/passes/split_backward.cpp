#include "graph/passes/split_backward.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "graph/passes/rewrite.h"

namespace trine {
namespace {

bool is_backward(const Node& node) { return node.region == Region::kMicrobatch && node.phase == Phase::kInputGrad; }

bool result_is_larger(const Graph& graph, const Node& node) {
  int64_t read = 0, made = 0;
  for (ValueId input : node.inputs)
    if (!graph[input].state.valid()) read += local_bytes(graph[input].type, graph.mesh());
  for (ValueId output : node.outputs) made += local_bytes(graph[output].type, graph.mesh());
  return made > read;
}

// The node that makes the gradient of the earliest forward value; invalid if there is none.
NodeId earliest_gradient(const Graph& graph) {
  const auto& pairs = graph.gradients();
  const auto first = std::min_element(pairs.begin(), pairs.end(), [](const GradientPair& a, const GradientPair& b) {
    return a.value.index < b.value.index;
  });
  return first == pairs.end() ? NodeId{} : graph[first->gradient].producer;
}

// By node: true for those of I.
std::vector<bool> needed_before(const Graph& graph) {
  std::vector<bool> needed(graph.nodes().size(), false);
  const NodeId input_gradient = earliest_gradient(graph);
  for (size_t n = graph.nodes().size(); n-- > 0;) {
    const Node& node = graph.nodes()[n];
    if (!is_backward(node)) continue;
    const bool exit = node.outputs.empty() && node.writes.empty();
    const bool last = static_cast<int>(n) == input_gradient.index;
    if (exit || ((last || node.recompute) && !result_is_larger(graph, node))) needed[n] = true;
    if (!needed[n] && !last) continue;
    for (ValueId input : node.inputs)
      if (const NodeId producer = graph[input].producer; producer.valid())
        needed[static_cast<size_t>(producer.index)] = true;
  }
  return needed;
}

// Moving W behind I must not change the order in which a state is written.
void check_writes(const std::vector<Node>& nodes) {
  std::set<StateId> written_in_w;
  for (const Node& node : nodes)
    for (StateId state : node.writes) {
      if (node.phase == Phase::kWeightGrad) written_in_w.insert(state);
      TRINE_CHECK(node.phase != Phase::kInputGrad || !written_in_w.contains(state),
                  "{} in {} would write its state before nodes that stand in front of it", node.op->name(),
                  node.scope);
    }
}

}  // namespace

Graph split_backward(Graph graph) {
  const std::vector<bool> needed = needed_before(graph);
  Builder builder(std::move(graph));
  std::vector<Node> nodes = take_nodes(builder);
  for (size_t n = 0; n < nodes.size(); ++n)
    if (is_backward(nodes[n]) && !needed[n]) nodes[n].phase = Phase::kWeightGrad;
  check_writes(nodes);
  const auto key = [](const Node& node) {
    return std::pair(node.region, node.region == Region::kMicrobatch ? node.phase : Phase::kForward);
  };
  std::stable_sort(nodes.begin(), nodes.end(), [&](const Node& a, const Node& b) { return key(a) < key(b); });
  for (Node& node : nodes) append(builder, std::move(node));
  return builder.finish();
}

}  // namespace trine
