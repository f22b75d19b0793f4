#include "runtime/state/parameter_slots.h"

namespace trine {

StateRange range_of(const Executor& executor, Slot slot, StateRole role) {
  const Graph& graph = executor.stage().graph;
  const StateId state = graph.companion(slot.bucket, role);
  if (!state.valid()) return {};
  const ElementRange held = held_range(graph, executor.coordinate(), slot, role);
  const bool sharded = graph[state].type.on(Axis::kDp).is(PlacementKind::kSplit);
  const int64_t elements = local_shape(graph[slot.bucket].type, graph.mesh()).num_elements();
  const int64_t begin = sharded ? split_begin(elements, graph.mesh().dp, executor.coordinate().dp) : 0;
  const int64_t offset = graph[slot.parameter].offset + held.first - begin;  // in what is here of the bucket
  return {held.first, held.end, executor.view(state).data + offset * 4};
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
