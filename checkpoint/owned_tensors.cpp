#include "checkpoint/owned_tensors.h"

#include "base/error.h"

namespace trine {

StateRole state_role(TensorKind kind) {
  switch (kind) {
    case TensorKind::kWeight:
      return StateRole::kMaster;
    case TensorKind::kMomentum:
      return StateRole::kMomentum;
    case TensorKind::kVariance:
      return StateRole::kVariance;
  }
  TRINE_CHECK(false, "kind {}", static_cast<int>(kind));
}

Box box_of(const Graph& graph, Coordinate at, StateId parameter) {
  const ShardBox shard = shard_of(graph, at, parameter);
  if (graph[parameter].type.shape.num_dims() == 1) return {{shard.first_column}, {shard.columns}};
  return {{shard.first_row, shard.first_column}, {shard.rows, shard.columns}};
}

std::vector<OwnedTensor> owned_tensors(const Graph& graph, Coordinate at) {
  std::vector<OwnedTensor> tensors;
  for (const Slot& slot : owned_parameters(graph)) {
    const Box shard = box_of(graph, at, slot.parameter);
    for (const TensorKind kind : kTensorKinds) {
      const ElementRange range = saved_range(graph, at, slot, state_role(kind));
      if (range.empty()) continue;
      const State& parameter = graph[slot.parameter];
      tensors.push_back(
          {slot, parameter.name, kind, parameter.type.shape, range, boxes_of_range(shard, range.first, range.end)});
    }
  }
  return tensors;
}

}  // namespace trine
