#include "runtime/state/checkpointing.h"

#include "base/error.h"
#include "checkpoint/owned_tensors.h"
#include "models/llama.h"
#include "runtime/state/parameter_slots.h"
#include "runtime/state/parameters.h"

namespace trine {
namespace {

const TensorEntry& entry_of(const Checkpoint& checkpoint, TensorKind kind, const State& parameter) {
  const TensorEntry& entry = checkpoint.tensor(kind, parameter.name);
  if (entry.shape != parameter.type.shape || entry.dtype != DType::kF32)
    throw DataError(
        fmt::format("[resume] {}: {} is {} {}, the model needs f32 {}. Resume with the model that was saved.",
                    checkpoint.folder().string(), parameter.name, name(entry.dtype), to_string(entry.shape),
                    to_string(parameter.type.shape)));
  return entry;
}

void load_weight(Executor& executor, Checkpoint& checkpoint, Slot slot) {
  const State& state = executor.stage().graph[slot.parameter];
  const TensorView weights = executor.view(slot.parameter);
  std::vector<float> values(static_cast<size_t>(weights.num_elements()));
  const std::vector<Box> whole = {box_of(executor.stage().graph, executor.coordinate(), slot.parameter)};
  checkpoint.read(entry_of(checkpoint, TensorKind::kWeight, state), whole, std::span(values));
  store_rounded(executor.backend(), values, weights.dtype, weights.data);
  const StateRange masters = range_of(executor, slot, StateRole::kMaster);
  const auto own = std::span(values).subspan(static_cast<size_t>(masters.first),
                                             static_cast<size_t>(masters.end - masters.first));
  if (!own.empty()) executor.backend().write(std::as_bytes(own), masters.data);
}

}  // namespace

std::vector<Slice> owned_slices(const Executor& executor) {
  std::vector<Slice> slices;
  for (OwnedTensor& tensor : owned_tensors(executor.stage().graph, executor.coordinate())) {
    const StateId state = executor.stage().graph.companion(tensor.slot.bucket, state_role(tensor.kind));
    slices.push_back({.name = std::move(tensor.name),
                      .kind = tensor.kind,
                      .dtype = DType::kF32,
                      .shape = std::move(tensor.shape),
                      .boxes = std::move(tensor.boxes),
                      .data = executor.view(state).data + tensor.range.offset * 4});
  }
  return slices;
}

void load_state(Executor& executor, Checkpoint& checkpoint) {
  load_weights(executor, checkpoint);
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    for (const TensorKind kind : {TensorKind::kMomentum, TensorKind::kVariance}) {
      const StateRange range = range_of(executor, slot, state_role(kind));
      if (range.first == range.end) continue;
      std::vector<float> values(static_cast<size_t>(range.end - range.first));
      const auto boxes =
          boxes_of_range(box_of(graph, executor.coordinate(), slot.parameter), range.first, range.end);
      checkpoint.read(entry_of(checkpoint, kind, graph[slot.parameter]), boxes, std::span(values));
      executor.backend().write(std::as_bytes(std::span(values)), range.data);
    }
  }
  const auto adam_step = static_cast<int32_t>(checkpoint.manifest().state.adam_step);
  executor.backend().write(std::as_bytes(std::span(&adam_step, 1)), executor.view(step_state::kAdamStep).data);
}

void load_weights(Executor& executor, Checkpoint& checkpoint) {
  zero_moments(executor);
  for (const Slot& slot : used_parameters(executor.stage().graph)) load_weight(executor, checkpoint, slot);
}

}  // namespace trine
