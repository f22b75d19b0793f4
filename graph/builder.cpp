#include "graph/builder.h"

#include "base/error.h"
#include "graph/printer.h"

namespace trine {

Types infer_types(const Op& op, TypeSpan inputs, const Mesh& mesh) {
  const IndexMap& map = known_index_map(op.index_map());
  require(inputs.size() == map.inputs.size(), "{} takes {} operands, got {}", op.name(), map.inputs.size(),
          inputs.size());
  Types types = op.infer(inputs);
  TRINE_CHECK(types.size() == map.outputs.size(), "{}: infer gives {} types, the index map has {} outputs",
              op.name(), types.size(), map.outputs.size());
  std::vector<Placement> placements(inputs.size());
  for (Axis axis : kAxes) {
    for (size_t i = 0; i < inputs.size(); ++i) placements[i] = inputs[i].on(axis);
    const auto derived = op.place(map, placements, axis, mesh);
    if (const auto* reason = std::get_if<std::string>(&derived))
      throw TypeError(fmt::format("placement on {}: {} (index map {})", name(axis), *reason, op.index_map()));
    const auto& outputs = std::get<std::vector<Placement>>(derived);
    for (size_t i = 0; i < types.size(); ++i) types[i].on(axis) = outputs[i];
  }
  return types;
}

StateId Builder::find_state(std::string_view name) {
  for (size_t i = states_by_name_.size(); i < graph_.states_.size(); ++i)
    states_by_name_.emplace(graph_.states_[i].name, StateId{static_cast<int32_t>(i)});
  const auto found = states_by_name_.find(name);
  return found == states_by_name_.end() ? StateId() : found->second;
}

StateId Builder::add_state(State state) {
  TRINE_CHECK(!find_state(state.name).valid(), "state {} exists already", state.name);
  const StateId id{static_cast<int32_t>(graph_.states_.size())};
  state.value = {static_cast<int32_t>(graph_.values_.size())};
  graph_.values_.push_back({state.type, {}, id, state.name});
  graph_.states_.push_back(std::move(state));
  return id;
}

std::vector<ValueId> Builder::emit(OpPtr op, std::vector<ValueId> inputs, std::vector<StateId> writes) {
  Node node{.op = std::move(op),
            .inputs = std::move(inputs),
            .outputs = {},
            .writes = std::move(writes),
            .in_place = {},
            .scope = scope_,
            .region = region_,
            .phase = phase_,
            .chunk = chunk_,
            .lane = Lane::kCompute,
            .waits = {}};
  try {
    require(static_cast<int>(node.writes.size()) == node.op->num_writes(), "{} writes {} states, got {}",
            node.op->name(), node.op->num_writes(), node.writes.size());
    const Types types = infer_types(*node.op, graph_.input_types(node), graph_.mesh());
    const size_t num_outputs = types.size() - node.writes.size();
    for (size_t i = 0; i < node.writes.size(); ++i) {
      const State& state = graph_[node.writes[i]];
      if (state.type != types[num_outputs + i])
        require(false, "it writes {} into state {}, which is {}", to_string(types[num_outputs + i]), state.name,
                to_string(state.type));
    }
    for (size_t i = 0; i < num_outputs; ++i) {
      node.outputs.push_back({static_cast<int32_t>(graph_.values_.size())});
      graph_.values_.push_back({types[i], {static_cast<int32_t>(graph_.nodes_.size())}, {}, {}});
    }
  } catch (const TypeError& error) {
    graph_.nodes_.push_back(std::move(node));
    throw TypeError(fmt::format("[graph] {}\n{}", error.what(), print_around(graph_, graph_.nodes_.size() - 1)));
  }
  graph_.nodes_.push_back(std::move(node));
  return graph_.nodes_.back().outputs;
}

void Builder::name_value(ValueId value, std::string name) {
  graph_.values_.at(static_cast<size_t>(value.index)).name = std::move(name);
}

StateId Builder::accumulator(ValueId value) const {
  const StateId state = graph_[value].state;
  return state.valid() ? graph_.companion(state, StateRole::kGradient) : StateId{};
}

}  // namespace trine
