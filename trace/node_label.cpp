#include "trace/node_label.h"

#include <typeinfo>

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

// Asked for each message of a step: these types are final, and comparing one is much faster than a dynamic_cast.
int32_t peer_of(const Node& node, int pp) {
  const Op& op = *node.op;
  const std::type_info& type = typeid(op);
  if (type == typeid(Send)) return static_cast<const Send&>(op).to_stage % pp;
  if (type == typeid(Receive)) return static_cast<const Receive&>(op).from_stage % pp;
  if (type == typeid(SendState)) return static_cast<const SendState&>(op).to_rank;
  if (type == typeid(ReceiveState)) return static_cast<const ReceiveState&>(op).from_rank;
  return -1;
}

}  // namespace trine
