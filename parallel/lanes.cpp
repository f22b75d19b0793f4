#include "parallel/lanes.h"

#include "graph/builder.h"
#include "ops/collective.h"

namespace trine {
namespace {

Lane lane_of(const Node& node) {
  if (node.op->is_transfer() || node.op->name() == "send_state" || node.op->name() == "receive_state")
    return Lane::kPp;
  const auto* collective = dynamic_cast<const Collective*>(node.op.get());
  if (collective == nullptr || collective->is_local()) return Lane::kCompute;
  return collective->axis == Axis::kTp ? Lane::kTp : collective->axis == Axis::kDp ? Lane::kDp : Lane::kPp;
}

}  // namespace

Graph assign_lanes(Graph graph) {
  Builder builder(std::move(graph));
  for (Node& node : builder.nodes()) node.lane = lane_of(node);
  return builder.finish();
}

}  // namespace trine
