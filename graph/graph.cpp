#include "graph/graph.h"

#include <numeric>

#include "base/error.h"

namespace trine {

std::string_view name(Region region) {
  return region == Region::kPrologue ? "prologue" : region == Region::kMicrobatch ? "microbatch" : "epilogue";
}

char letter(Phase phase) { return phase == Phase::kForward ? 'F' : phase == Phase::kInputGrad ? 'I' : 'W'; }

std::string_view name(StateRole role) {
  constexpr std::array<std::string_view, 10> names = {"parameter", "gradient", "master", "momentum", "variance",
                                                      "batch",     "scalar",   "cache",  "buffer",   "view"};
  return names.at(static_cast<size_t>(role));
}

StateId Graph::find_state(std::string_view name) const {
  for (size_t i = 0; i < states_.size(); ++i)
    if (states_[i].name == name) return {static_cast<int32_t>(i)};
  return {};
}

StateId Graph::state_named(std::string_view name) const {
  const StateId id = find_state(name);
  TRINE_CHECK(id.valid(), "no state {}", name);
  return id;
}

StateId Graph::companion(StateId parameter, StateRole role) const {
  for (size_t i = 0; i < states_.size(); ++i)
    if (states_[i].role == role && states_[i].parameter == parameter) return {static_cast<int32_t>(i)};
  return {};
}

Types Graph::input_types(const Node& node) const {
  Types types;
  types.reserve(node.inputs.size());
  for (ValueId id : node.inputs) types.push_back((*this)[id].type);
  return types;
}

Types Graph::output_types(const Node& node) const {
  Types types;
  types.reserve(node.outputs.size() + node.writes.size());
  for (ValueId id : node.outputs) types.push_back((*this)[id].type);
  for (StateId id : node.writes) types.push_back((*this)[id].type);
  return types;
}

Cost Graph::cost(NodeId id) const {
  const Node& node = (*this)[id];
  return node.op->cost(input_types(node), output_types(node), mesh_);
}

int64_t Graph::first_element(StateId id, Coordinate coordinate) const {
  const State& state = (*this)[id];
  if (!state.storage.valid()) return 0;
  int64_t first = state.offset;
  for (Axis axis : kAxes) {
    const Placement own = state.type.on(axis);
    if (!own.is(PlacementKind::kSplit) || own.batch ||
        (*this)[state.storage].type.on(axis).is(PlacementKind::kSplit))
      continue;
    const int64_t elements = local_shape((*this)[state.storage].type, mesh_).num_elements();
    first += split_begin(elements, mesh_[axis], coordinate[axis]);
  }
  return first;
}

std::vector<int> Graph::last_uses() const {
  std::vector<int> last(values_.size(), -1);
  std::vector<size_t> root(values_.size());  // whose bytes a value shows
  std::iota(root.begin(), root.end(), size_t{0});
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = nodes_[n];
    for (ValueId input : node.inputs)
      if (static_cast<size_t>(input.index) < last.size())
        last[root[static_cast<size_t>(input.index)]] = static_cast<int>(n);
    if (node.op->is_view())
      root[static_cast<size_t>(node.outputs[0].index)] = root[static_cast<size_t>(node.inputs[0].index)];
  }
  for (size_t v = 0; v < last.size(); ++v) last[v] = last[root[v]];
  return last;
}

}  // namespace trine
