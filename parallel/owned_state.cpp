#include "parallel/owned_state.h"

#include <algorithm>

#include "parallel/buckets.h"

namespace trine {

std::vector<Slot> parameters_of(const Graph& graph, const std::vector<StateId>& of_buckets) {
  std::vector<Slot> slots;
  for (StateId bucket : of_buckets)
    for (StateId parameter : parameters_in(graph, bucket)) slots.push_back({parameter, bucket});
  return slots;
}

std::vector<Slot> owned_parameters(const Graph& graph) { return parameters_of(graph, buckets(graph)); }

std::vector<Slot> used_parameters(const Graph& graph) {
  std::vector<StateId> all = buckets(graph);
  if (const StateId copy = tied_copy(graph); copy.valid()) all.push_back(copy);
  return parameters_of(graph, all);
}

ShardBox shard_of(const Graph& graph, Coordinate at, StateId parameter) {
  const TensorType& type = graph[parameter].type;
  const Shape local = local_shape(type, graph.mesh(), at);
  ShardBox box{0, local.num_rows(), 0, local.num_columns(), type.shape.num_columns()};
  const Placement tp = type.on(Axis::kTp);
  if (!tp.is(PlacementKind::kSplit)) return box;
  const int64_t begin = split_begin(type.shape[tp.dim], graph.mesh().tp, at.tp);
  (tp.dim == type.shape.num_dims() - 1 ? box.first_column : box.first_row) = begin;
  return box;
}

ElementRange held_range(const Graph& graph, Coordinate at, Slot slot, StateRole role) {
  const StateId state = graph.companion(slot.bucket, role);
  if (!state.valid()) return {};
  const Mesh& mesh = graph.mesh();
  const int64_t held = local_shape(graph[state].type, mesh, at).num_elements();
  const int64_t elements = local_shape(graph[slot.bucket].type, mesh).num_elements();
  const bool sharded = graph[state].type.on(Axis::kDp).is(PlacementKind::kSplit);
  const int64_t begin = sharded ? split_begin(elements, mesh.dp, at.dp) : 0;
  const int64_t offset = graph[slot.parameter].offset;  // of the parameter in the bucket
  const int64_t num_elements = local_shape(graph[slot.parameter].type, mesh, at).num_elements();
  const int64_t first = std::max<int64_t>(0, begin - offset);
  const int64_t end = std::max(first, std::min(num_elements, begin + held - offset));
  return {first, end, offset + first - begin};
}

ElementRange saved_range(const Graph& graph, Coordinate at, Slot slot, StateRole role) {
  ElementRange range = held_range(graph, at, slot, role);
  if (range.empty()) return range;
  const bool split_over_tp = graph[slot.parameter].type.on(Axis::kTp).is(PlacementKind::kSplit);
  if (!split_over_tp && at.tp > 0) return {};
  const int64_t dp = graph.mesh().dp;
  const StateId state = graph.companion(slot.bucket, role);
  if (graph[state].type.on(Axis::kDp).is(PlacementKind::kSplit) || dp == 1) return range;
  const int64_t count = range.end - range.first, part = div_up(count, dp);
  const int64_t begin = std::min(count, part * at.dp), end = std::min(count, part * (at.dp + 1));
  return {range.first + begin, range.first + end, range.offset + begin};
}

}  // namespace trine
