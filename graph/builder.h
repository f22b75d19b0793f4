// Builds a graph node by node. Types and placements are inferred and checked as each node is added, so an illegal
// graph fails at the line that builds it, with its neighbourhood printed.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/graph.h"

namespace trine {

class Builder {
 public:
  explicit Builder(Mesh mesh) : graph_(mesh) {}
  explicit Builder(Graph graph) : graph_(std::move(graph)) {}

  // Where the next nodes go.
  void enter(Region region, Phase phase = Phase::kForward) { region_ = region, phase_ = phase; }
  void set_scope(std::string scope) { scope_ = std::move(scope); }
  void set_chunk(int chunk) { chunk_ = chunk; }

  StateId add_state(State state);
  StateId find_state(std::string_view name);  // invalid if there is none; Graph's looks at each
  ValueId read(StateId state) const { return graph_[state].value; }

  // Adds a node. Its outputs are the index map's outputs less the written states, which stand last there.
  // Throws TypeError (types or placements do not fit) with ten lines of the graph.
  std::vector<ValueId> emit(OpPtr op, std::vector<ValueId> inputs, std::vector<StateId> writes = {});

  // emit() of a new OpType{args...} with exactly one output.
  template <typename OpType>
  ValueId add(OpType op, std::vector<ValueId> inputs) {
    return emit(std::make_shared<const OpType>(std::move(op)), std::move(inputs)).at(0);
  }
  template <typename OpType>
  std::vector<ValueId> add_many(OpType op, std::vector<ValueId> inputs) {
    return emit(std::make_shared<const OpType>(std::move(op)), std::move(inputs));
  }
  // emit() of an op that only writes states.
  template <typename OpType>
  void write(OpType op, std::vector<ValueId> inputs, std::vector<StateId> writes) {
    emit(std::make_shared<const OpType>(std::move(op)), std::move(inputs), std::move(writes));
  }

  void name_value(ValueId value, std::string name);
  void pair_gradient(ValueId value, ValueId gradient) { graph_.gradients_.push_back({value, gradient}); }

  // The accumulator of a parameter's gradient, invalid if `value` is no parameter (or has none).
  StateId accumulator(ValueId value) const;

  const TensorType& type(ValueId value) const { return graph_[value].type; }
  const Graph& graph() const { return graph_; }
  Graph finish() { return std::move(graph_); }

  // For passes that rewrite states (not their names) or nodes in place of rebuilding all.
  State& state(StateId id) { return graph_.states_.at(static_cast<size_t>(id.index)); }
  Value& value(ValueId id) { return graph_.values_.at(static_cast<size_t>(id.index)); }
  std::vector<Node>& nodes() { return graph_.nodes_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
  };

  Graph graph_;
  std::unordered_map<std::string, StateId, Hash, std::equal_to<>> states_by_name_;  // of the first so many states
  Region region_ = Region::kMicrobatch;
  Phase phase_ = Phase::kForward;
  int chunk_ = 0;
  std::string scope_;
};

// Types, placements included, of a node's outputs and written states. Throws TypeError.
Types infer_types(const Op& op, TypeSpan inputs, const Mesh& mesh);

}  // namespace trine
