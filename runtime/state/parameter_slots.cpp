#include "runtime/state/parameter_slots.h"

namespace trine {

StateRange range_of(const Executor& executor, Slot slot, StateRole role) {
  const Graph& graph = executor.stage().graph;
  const StateId state = graph.companion(slot.bucket, role);
  if (!state.valid()) return {};
  const ElementRange held = held_range(graph, executor.coordinate(), slot, role);
  return {held.first, held.end, executor.view(state).data + held.offset * 4};
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
