// A rank's step program executed on shadow memory, which knows for each byte which value wrote it last: whoever
// reads must find what the producer wrote.
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
  ShadowExecution(const StepProgram& program, const MemoryPlan& plan)
      : graph_(program.graph()),
        program_(program),
        plan_(plan),
        owner_(static_cast<size_t>(plan.total_bytes()), -1) {}

  // A receive writes when it is posted. A send reads until the wait for it.
  void run() {
    program_.for_each([&](const Command& command) {
      if (!testing::Test::HasFatalFailure()) carry_out(command);
    });
  }
  int64_t checked_bytes() const { return checked_; }
  int64_t messages() const { return messages_; }

 private:
  void carry_out(const Command& command) {
    if (command.kind == CommandKind::kAction) action_ = command.action;
    if (command.kind == CommandKind::kEnd)
      while (!sent_.empty()) complete_send(sent_.begin()->first);
    if (command.node < 0) return;
    const Node& node = graph_.nodes()[static_cast<size_t>(command.node)];
    const int microbatch = std::max(0, command.microbatch);
    switch (command.kind) {
      case CommandKind::kPostReceive:
        ++messages_;
        return write(node.outputs[0], microbatch);
      case CommandKind::kPostSend:
        ++messages_;
        read(node, node.inputs[0], microbatch);
        ASSERT_TRUE(sent_.try_emplace({command.node, command.slot}, node.inputs[0], microbatch).second)
            << "node " << command.node << " sends from slot " << command.slot << ", and nobody waited for it";
        return;
      case CommandKind::kWaitSent:
        return complete_send({command.node, command.slot});
      case CommandKind::kRun:
      case CommandKind::kEnqueue:
        return execute(node, microbatch);
      default:
        return;
    }
  }

  using Sent = std::pair<int, int>;  // node and slot

  void complete_send(Sent send) {
    const auto [value, microbatch] = sent_.extract(send).mapped();
    int64_t changed = 0;
    for_each_byte(graph_, plan_, value, microbatch, [&, tag = tag(value, microbatch)](int64_t byte) {
      changed += owner_[static_cast<size_t>(byte)] != tag;
    });
    ASSERT_EQ(changed, 0) << "bytes of %" << value.index << ", microbatch " << microbatch << ", sent by node "
                          << send.first << " and written before they had arrived";
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
  const StepProgram& program_;
  const MemoryPlan& plan_;
  std::vector<int64_t> owner_;
  std::map<Sent, std::pair<ValueId, int>> sent_;  // value and microbatch, until they have arrived
  int action_ = -1;
  int64_t checked_ = 0, messages_ = 0;
};

}  // namespace trine
