#include "runtime/checkpointing.h"

#include "base/error.h"
#include "models/llama.h"
#include "parallel/buckets.h"
#include "runtime/parameter_slots.h"
#include "runtime/parameters.h"

namespace trine {
namespace {

constexpr std::pair<TensorKind, StateRole> kSaved[] = {{TensorKind::kWeight, StateRole::kMaster},
                                                       {TensorKind::kMomentum, StateRole::kMomentum},
                                                       {TensorKind::kVariance, StateRole::kVariance}};

// This rank's shard as a box of the logical tensor.
Box box_of(const Executor& executor, StateId parameter) {
  const ShardBox shard = shard_of(executor, parameter);
  if (executor.stage().graph[parameter].type.shape.num_dims() == 1) return {{shard.first_column}, {shard.columns}};
  return {{shard.first_row, shard.first_column}, {shard.rows, shard.columns}};
}

// Of the elements that the rank has of a parameter's state, those that it saves.
StateRange share(const Executor& executor, Slot slot, StateRange range) {
  const Graph& graph = executor.stage().graph;
  const Coordinate at = executor.coordinate();
  const bool split_over_tp = graph[slot.parameter].type.on(Axis::kTp).is(PlacementKind::kSplit);
  if (!split_over_tp && at.tp > 0) range.end = range.first;
  const StateId master = graph.companion(slot.bucket, StateRole::kMaster);
  const int64_t dp = graph.mesh().dp;
  if (graph[master].type.on(Axis::kDp).is(PlacementKind::kSplit) || dp == 1) return range;
  const int64_t count = range.end - range.first, part = div_up(count, dp);
  const int64_t begin = std::min(count, part * at.dp), end = std::min(count, part * (at.dp + 1));
  range.data += begin * 4;
  range.end = range.first + end;
  range.first += begin;
  return range;
}

const TensorEntry& entry_of(const Checkpoint& checkpoint, TensorKind kind, const State& parameter) {
  const TensorEntry& entry = checkpoint.tensor(kind, parameter.name);
  if (entry.shape != parameter.type.shape || entry.dtype != DType::kF32)
    throw DataError(fmt::format("[resume] {}: {} is {} {}, the model needs f32 {}. Resume with the model that was saved.",
                                checkpoint.folder().string(), parameter.name, name(entry.dtype), to_string(entry.shape),
                                to_string(parameter.type.shape)));
  return entry;
}

void load_weight(Executor& executor, Checkpoint& checkpoint, Slot slot) {
  const State& state = executor.stage().graph[slot.parameter];
  const TensorView weights = executor.view(slot.parameter);
  std::vector<float> values(static_cast<size_t>(weights.num_elements()));
  const std::vector<Box> whole = {box_of(executor, slot.parameter)};
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
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    for (const auto& [kind, role] : kSaved) {
      const StateRange range = share(executor, slot, range_of(executor, slot, role));
      if (range.first == range.end) continue;
      slices.push_back({.name = graph[slot.parameter].name,
                        .kind = kind,
                        .dtype = DType::kF32,
                        .shape = graph[slot.parameter].type.shape,
                        .boxes = boxes_of_range(box_of(executor, slot.parameter), range.first, range.end),
                        .data = range.data});
    }
  }
  return slices;
}

void load_state(Executor& executor, Checkpoint& checkpoint) {
  load_weights(executor, checkpoint);
  const Graph& graph = executor.stage().graph;
  for (const Slot& slot : owned_parameters(graph)) {
    for (const auto& [kind, role] : kSaved) {
      if (kind == TensorKind::kWeight) continue;
      const StateRange range = range_of(executor, slot, role);
      if (range.first == range.end) continue;
      std::vector<float> values(static_cast<size_t>(range.end - range.first));
      const auto boxes = boxes_of_range(box_of(executor, slot.parameter), range.first, range.end);
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
