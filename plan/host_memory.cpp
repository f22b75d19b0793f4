#include "plan/host_memory.h"

#include <algorithm>
#include <map>

#include "base/text.h"
#include "ops/collective.h"
#include "ops/pipeline.h"
#include "parallel/owned_state.h"

namespace trine {
namespace {

constexpr StateRole kSavedRoles[] = {StateRole::kMaster, StateRole::kMomentum, StateRole::kVariance};

int64_t snapshot_bytes(const Graph& graph, Coordinate at) {
  int64_t elements = 0;
  for (const Slot& slot : owned_parameters(graph))
    for (const StateRole role : kSavedRoles) {
      const ElementRange range = saved_range(graph, at, slot, role);
      elements += range.end - range.first;
    }
  return elements * 4;
}

// What a node that is no pipeline message moves between ranks, whole.
int64_t moved_bytes(const Graph& graph, const Node& node, Coordinate at) {
  const Op* const op = node.op.get();
  if (!dynamic_cast<const Collective*>(op) && !dynamic_cast<const SendState*>(op) &&
      !dynamic_cast<const ReceiveState*>(op))
    return 0;
  int64_t most = 0;
  for (const auto& values : {node.inputs, node.outputs})
    for (const ValueId value : values) {
      const TensorType& type = graph[value].type;
      most = std::max(
          most, local_shape(type, graph.mesh(), at).num_elements() * static_cast<int64_t>(size_bytes(type.dtype)));
    }
  return most;
}

int64_t pinned_bytes(const StagePlan& stage, const Config& config, Coordinate at) {
  const int64_t batch = 2 * config.global_batch / config.mesh.dp * config.seq * 4;  // ids and labels
  int64_t bytes = batch + kPinnedSegments * kPinnedSegmentBytes;
  if (config.comm == CommKind::kNccl || config.mesh.num_ranks() == 1) return bytes;
  std::map<Lane, int64_t> of_lane;  // whose collectives share a buffer
  for (const Node& node : stage.graph.nodes()) {
    int64_t& most = of_lane[node.lane];
    most = std::max(most, moved_bytes(stage.graph, node, at));
  }
  for (const auto& [lane, most] : of_lane) bytes += most;
  for (const MemoryLine& line : stage.memory.table)
    if (line.part == "received" || line.part == "sent") bytes += line.bytes;
  return bytes;
}

}  // namespace

HostMemory host_memory(const StagePlan& stage, const Config& config, Coordinate at) {
  return {.snapshot_bytes = config.saves() && !config.eval_only ? snapshot_bytes(stage.graph, at) : 0,
          .pinned_bytes = config.device == DeviceKind::kCuda ? pinned_bytes(stage, config, at) : 0};
}

HostMemory host_memory(const Plan& plan, size_t pp) {
  return host_memory(plan.stages[pp], plan.config, {.pp = static_cast<int>(pp), .dp = 0, .tp = 0});
}

std::string print(const HostMemory& memory) {
  std::string text;
  const auto add = [&](const char* name, int64_t bytes) {
    if (bytes > 0)
      text += fmt::format("  {:<62} {:>17} B  {:>10}\n", name, format_count(bytes), format_bytes(bytes));
  };
  add("beside it on the host: snapshot of a checkpoint", memory.snapshot_bytes);
  add("beside it on the host: pinned buffers", memory.pinned_bytes);
  return text;
}

}  // namespace trine
