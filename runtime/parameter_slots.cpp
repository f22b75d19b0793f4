#include "runtime/parameter_slots.h"

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

ShardBox shard_of(const Executor& executor, StateId parameter) {
  const Graph& graph = executor.stage().graph;
  const TensorView view = executor.view(parameter);
  const TensorType& type = graph[parameter].type;
  ShardBox box{0, view.rows, 0, view.columns, type.shape.num_columns()};
  const Placement tp = type.on(Axis::kTp);
  if (!tp.is(PlacementKind::kSplit)) return box;
  const int64_t begin = split_begin(type.shape[tp.dim], graph.mesh().tp, executor.coordinate().tp);
  (tp.dim == type.shape.num_dims() - 1 ? box.first_column : box.first_row) = begin;
  return box;
}

StateRange range_of(const Executor& executor, Slot slot, StateRole role) {
  const Graph& graph = executor.stage().graph;
  const StateId state = graph.companion(slot.bucket, role);
  if (!state.valid()) return {};
  const TensorView all = executor.view(state);
  const Mesh& mesh = graph.mesh();
  const int64_t elements = local_shape(graph[slot.bucket].type, mesh).num_elements();
  const bool sharded = graph[state].type.on(Axis::kDp).is(PlacementKind::kSplit);
  const int64_t begin = sharded ? split_begin(elements, mesh.dp, executor.coordinate().dp) : 0;
  const int64_t offset = graph[slot.parameter].offset;  // of the parameter in the bucket
  const int64_t num_elements = executor.view(slot.parameter).num_elements();
  StateRange range{std::max<int64_t>(0, begin - offset), std::min(num_elements, begin + all.num_elements() - offset)};
  range.end = std::max(range.first, range.end);
  range.data = all.data + (offset + range.first - begin) * 4;
  return range;
}

void store_rounded(const Backend& backend, std::span<const float> values, DType dtype, std::byte* to) {
  const auto write = [&]<typename T>(T) {
    std::vector<T> rounded(values.size());
    std::transform(values.begin(), values.end(), rounded.begin(), from_float<T>);
    backend.write(std::as_bytes(std::span(rounded)), to);
  };
  if (dtype == DType::kBF16)
    write(BFloat16{});
  else if (dtype == DType::kF16)
    write(Float16{});
  else
    backend.write(std::as_bytes(values), to);
}

}  // namespace trine
