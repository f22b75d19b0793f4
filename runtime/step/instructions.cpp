#include "runtime/step/instructions.h"

#include "base/error.h"
#include "runtime/step/link_pacer.h"

namespace trine {
namespace {

EventKind kind_of(const Node& node) {
  if (node.region == Region::kEpilogue) return EventKind::kOptimizer;
  if (node.region == Region::kPrologue) return EventKind::kData;
  return node.recompute ? EventKind::kRecompute : EventKind::kCompute;
}

Axis axis_of(Lane lane) { return lane == Lane::kTp ? Axis::kTp : lane == Lane::kDp ? Axis::kDp : Axis::kPp; }

}  // namespace

std::vector<Operand> Operands::of(const Node& node) const {
  std::vector<Operand> all;
  for (const ValueId input : node.inputs) all.push_back((*this)[input]);
  for (const ValueId output : node.outputs) all.push_back((*this)[output]);
  for (const StateId state : node.writes) all.push_back({(*this)[state]});
  return all;
}

Instructions::Instructions(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
                           CommLanes* lanes, std::span<std::byte> arena)
    : stage_(stage), coordinate_(coordinate), operands_(stage, coordinate, arena.data()) {
  for (size_t n = 0; n < stage.graph.nodes().size(); ++n)
    list_.push_back(prepare({static_cast<int32_t>(n)}, config, backend, lanes));
}

Instruction Instructions::prepare(NodeId id, const Config& config, Backend& backend, CommLanes* lanes) const {
  const Node& node = stage_.graph[id];
  Instruction instruction{.cost = stage_.graph.cost(id), .kind = kind_of(node)};
  instruction.operands = operands_.of(node);
  for (size_t i = 0; i < instruction.operands.size(); ++i)
    (i < node.inputs.size() ? instruction.inputs : instruction.outputs).push_back(instruction.operands[i].view);
  if (node.op->is_view() || node.op->is_transfer()) return instruction;
  const Types input_types = stage_.graph.input_types(node), output_types = stage_.graph.output_types(node);
  KernelRequest request{*node.op,    instruction.inputs, instruction.outputs,           stage_.graph.mesh(),
                        coordinate_, config.threads,     stage_.memory.workspace_bytes, input_types,
                        output_types};
  request.node = id.index;
  if (node.lane != Lane::kCompute) {
    request.group = &lanes->group(axis_of(node.lane));
    request.device_group = lanes->device_group(axis_of(node.lane));
    request.lane = node.lane;
  }
  instruction.kernel = backend.kernels().make(request);
  if (request.group != nullptr && lanes->pacer() != nullptr)
    instruction.kernel = lanes->pacer()->paced(std::move(instruction.kernel), request);
  return instruction;
}

const Instruction& Instructions::bind(size_t node, int microbatch) {
  Instruction& instruction = list_[node];
  const size_t num_inputs = instruction.inputs.size();
  for (size_t i = 0; i < instruction.operands.size(); ++i) {
    const Operand& operand = instruction.operands[i];
    if (operand.pool == nullptr) continue;
    TensorView& view = i < num_inputs ? instruction.inputs[i] : instruction.outputs[i - num_inputs];
    view.data = operand.view.data + operand.pool->slot(microbatch) * operand.pool->slot_bytes;
  }
  return instruction;
}

TensorView Operands::operator[](StateId id) const {
  const State& state = stage_.graph[id];
  const Shape shape = local_shape(state.type, stage_.graph.mesh(), coordinate_);
  int64_t shard = 0;  // where this rank's share of a storage begins; the plan knows what is the same on all ranks
  for (StateId part = id; stage_.graph[part].storage.valid(); part = stage_.graph[part].storage)
    shard += stage_.graph.first_element(part, coordinate_) - stage_.graph[part].offset;
  std::byte* const data = arena_ + stage_.memory.state_offsets[static_cast<size_t>(id.index)];
  return {data + shard * static_cast<int64_t>(size_bytes(state.type.dtype)), state.type.dtype, shape.num_rows(),
          shape.num_columns(), shape.num_columns()};
}

Operand Operands::operator[](ValueId id) const {
  const Value& value = stage_.graph[id];
  if (value.state.valid()) return {(*this)[value.state]};
  const Shape shape = local_shape(value.type, stage_.graph.mesh(), coordinate_);
  const ValuePlace& place = stage_.memory.values[static_cast<size_t>(id.index)];
  TRINE_CHECK(place.pool >= 0, "value %{} has no place in the plan", id.index);
  const Pool& pool = stage_.memory.pools[static_cast<size_t>(place.pool)];
  const TensorView slot_0{arena_ + pool.begin + place.offset, value.type.dtype, shape.num_rows(),
                          shape.num_columns(), place.row_stride};
  return {slot_0, pool.num_slots > 1 ? &pool : nullptr};
}

TensorView Instructions::view(ValueId id, int microbatch) const {
  const Operand operand = operands_[id];
  TensorView view = operand.view;
  if (operand.pool) view.data += operand.pool->slot(microbatch) * operand.pool->slot_bytes;
  return view;
}

}  // namespace trine
