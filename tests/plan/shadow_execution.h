// A rank's schedule executed on shadow memory, which knows for each byte which value wrote it last: whoever reads
// must find what the producer wrote.
#pragma once

#include <gtest/gtest.h>
#include <map>
#include <vector>

#include "plan/plan.h"

namespace trine {

// Calls f(byte) for the bytes of a value in a microbatch, from the start of the arena: the largest shard's.
template <typename F>
void for_each_byte(const Graph& graph, const MemoryPlan& plan, ValueId value, int microbatch, F&& f) {
  const ValuePlace& place = plan.values[static_cast<size_t>(value.index)];
  const Shape shape = local_shape(graph[value].type, graph.mesh());
  const auto element = static_cast<int64_t>(size_bytes(graph[value].type.dtype));
  const int64_t begin = plan.address(place, microbatch);
  for (int64_t row = 0; row < shape.num_rows(); ++row)
    for (int64_t byte = 0; byte < shape.num_columns() * element; ++byte)
      f(begin + row * place.row_stride * element + byte);
}

class ShadowExecution {
 public:
  ShadowExecution(const Graph& graph, const Schedule& schedule, const MemoryPlan& plan)
      : graph_(graph),
        schedule_(schedule),
        plan_(plan),
        waits_(waits_for_send_slots(graph, schedule, plan, 0)),
        owner_(static_cast<size_t>(plan.total_bytes()), -1) {}

  // A receive may write from the start of the action before its own. A send reads until the wait for it.
  void run() {
    region(Region::kPrologue);
    for (size_t i = 0; i < schedule_.size() && !testing::Test::HasFatalFailure(); ++i) {
      for (const SendWait& wait : waits_)
        if (wait.action == static_cast<int>(i)) complete_send(wait.send);
      if (i == 0) receive(schedule_[i]);
      if (i + 1 < schedule_.size()) receive(schedule_[i + 1]);
      action_ = static_cast<int>(i);
      for (const Phase phase : phases(schedule_[i].kind)) run_phase(schedule_[i], phase);
    }
    while (!sent_.empty()) complete_send(sent_.begin()->first);
    region(Region::kEpilogue);
  }
  int64_t checked_bytes() const { return checked_; }
  int64_t messages() const { return messages_; }

 private:
  static std::vector<Phase> phases(ActionKind kind) {
    if (kind == ActionKind::kForward) return {Phase::kForward};
    if (kind == ActionKind::kInputGrad) return {Phase::kInputGrad};
    if (kind == ActionKind::kWeightGrad) return {Phase::kWeightGrad};
    return {Phase::kInputGrad, Phase::kWeightGrad};
  }

  void region(Region region) {
    for (const Node& node : graph_.nodes())
      if (node.region == region) execute(node, 0);
  }

  template <typename F>
  void for_each_node(const Action& action, Phase phase, F&& f) {
    for (const Node& node : graph_.nodes())
      if (node.region == Region::kMicrobatch && node.phase == phase &&
          node.chunk == action.stage / graph_.mesh().pp)
        f(node);
  }

  void run_phase(const Action& action, Phase phase) {
    for_each_node(action, phase, [&](const Node& node) {
      if (!node.op->is_transfer()) return execute(node, action.microbatch);
      ++messages_;
      if (node.inputs.empty()) return;  // it is here already
      read(node, node.inputs[0], action.microbatch);
      sent_[action_] = {node.inputs[0], action.microbatch};
    });
  }

  void receive(const Action& action) {
    for (const Phase phase : phases(action.kind))
      for_each_node(action, phase, [&](const Node& node) {
        if (node.op->is_transfer() && node.inputs.empty()) write(node.outputs[0], action.microbatch);
      });
  }

  void complete_send(int action) {
    const auto [value, microbatch] = sent_.extract(action).mapped();
    int64_t changed = 0;
    for_each_byte(graph_, plan_, value, microbatch, [&, tag = tag(value, microbatch)](int64_t byte) {
      changed += owner_[static_cast<size_t>(byte)] != tag;
    });
    ASSERT_EQ(changed, 0) << "bytes of %" << value.index << ", microbatch " << microbatch << ", sent in action "
                          << action << " and written before they had arrived";
  }

  void execute(const Node& node, int microbatch) {
    for (ValueId input : node.inputs)
      if (!graph_[input].state.valid()) read(node, input, microbatch);
    for (ValueId output : node.outputs) write(output, microbatch);
  }

  void read(const Node& node, ValueId value, int microbatch) {
    int64_t wrong = 0;
    for_each_byte(graph_, plan_, value, microbatch, [&, tag = tag(value, microbatch)](int64_t byte) {
      wrong += owner_[static_cast<size_t>(byte)] != tag;
      ++checked_;
    });
    ASSERT_EQ(wrong, 0) << "bytes of %" << value.index << ", microbatch " << microbatch << ", which " << node.scope
                        << ": " << node.op->name() << " reads in action " << action_;
  }
  void write(ValueId value, int microbatch) {
    for_each_byte(graph_, plan_, value, microbatch,
                  [&](int64_t byte) { owner_[static_cast<size_t>(byte)] = tag(value, microbatch); });
  }

  // A view has its input's bytes, unwritten.
  int64_t tag(ValueId value, int microbatch) const {
    for (NodeId producer = graph_[value].producer; producer.valid() && graph_[producer].op->is_view();
         producer = graph_[value].producer)
      value = graph_[producer].inputs[0];
    return int64_t{value.index} * 1000 + microbatch;
  }

  const Graph& graph_;
  const Schedule& schedule_;
  const MemoryPlan& plan_;
  const std::vector<SendWait> waits_;
  std::vector<int64_t> owner_;
  std::map<int, std::pair<ValueId, int>> sent_;  // by action, until they have arrived
  int action_ = -1;
  int64_t checked_ = 0, messages_ = 0;
};

}  // namespace trine
