#include "trace/node_label.h"

#include "graph/placement.h"
#include "ops/collective.h"
#include "ops/pipeline.h"

namespace trine {
namespace {

int64_t local_elements(const TensorType& type, const Mesh& mesh) {
  return local_shape(type, mesh, Coordinate{}).num_elements();
}

// What travels.
DType wire_type(const Node& node, const TensorType& type) {
  const auto* collective = dynamic_cast<const Collective*>(node.op.get());
  return collective && type.dtype == DType::kF32 ? collective->wire : type.dtype;
}

}  // namespace

std::vector<NodeLabel> node_labels(const Graph& graph) {
  std::vector<NodeLabel> labels;
  for (const Node& node : graph.nodes()) {
    NodeLabel& label = labels.emplace_back();
    label.op = node.op->name();
    label.scope = node.scope;
    label.phase =
        node.region == Region::kMicrobatch ? std::string(1, letter(node.phase)) : std::string(name(node.region));
    if (node.lane == Lane::kCompute && !node.op->is_transfer()) continue;
    const Types in = graph.input_types(node), out = graph.output_types(node);
    for (const TensorType& type : in) label.in_elements += local_elements(type, graph.mesh());
    for (const TensorType& type : out) label.out_elements += local_elements(type, graph.mesh());
    if (!in.empty() || !out.empty()) label.dtype = name(wire_type(node, in.empty() ? out[0] : in[0]));
  }
  return labels;
}

int32_t peer_of(const Node& node, int pp) {
  if (const auto* send = dynamic_cast<const Send*>(node.op.get())) return send->to_stage % pp;
  if (const auto* receive = dynamic_cast<const Receive*>(node.op.get())) return receive->from_stage % pp;
  if (const auto* send = dynamic_cast<const SendState*>(node.op.get())) return send->to_rank;
  if (const auto* receive = dynamic_cast<const ReceiveState*>(node.op.get())) return receive->from_rank;
  return -1;
}

}  // namespace trine
