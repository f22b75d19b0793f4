#include "runtime/step/lane_nodes.h"

#include "ops/collective.h"

namespace trine {

LaneNodes::LaneNodes(const Graph& graph, Instructions& instructions, Timeline& timeline, CommLanes* lanes)
    : graph_(graph),
      instructions_(instructions),
      timeline_(timeline),
      lanes_(lanes),
      executions_(graph.nodes().size()) {
  for (const Node& node : graph.nodes())
    waits_.push_back(node.lane == Lane::kCompute ? std::vector<NodeId>() : lane_waits(graph, node));
}

void LaneNodes::begin_step(const HostStep& host) {
  host_ = &host;
  lane_end_.fill(timeline_.mark(Lane::kCompute));
  for (Execution& execution : executions_) execution.done.reset();
}

void LaneNodes::enqueue(const TraceEvent& event) {
  const auto index = static_cast<size_t>(event.node);
  instructions_.bind(index, event.microbatch);
  Execution& execution = executions_[index];
  execution.ready = timeline_.mark(Lane::kCompute);
  execution.event = event;
  if (lanes_->on_device()) return execute(index);
  execution.ticket = lanes_->thread(event.lane).enqueue([this, index] { execute(index); });
}

void LaneNodes::wait(size_t node) {
  const Execution& execution = executions_[node];
  if (!lanes_->on_device()) lanes_->thread(graph_.nodes()[node].lane).wait(execution.ticket);
  if (execution.done) timeline_.wait(Lane::kCompute, *execution.done);
}

// Nodes of the compute lane that come before this one have been run, or enqueued before `ready`. The event begins
// when the rank was ready: what the thread takes to wake up belongs to the communication.
void LaneNodes::execute(size_t index) {
  const Node& node = graph_.nodes()[index];
  const Instruction& instruction = instructions_[index];
  Execution& execution = executions_[index];
  Mark& lane_end = lane_end_[static_cast<size_t>(node.lane)];
  Mark begin = lane_end;
  timeline_.wait(node.lane, execution.ready);
  for (const NodeId wait : waits_[index]) {
    const Execution& awaited = executions_[static_cast<size_t>(wait.index)];
    if (!lanes_->on_device()) lanes_->thread(graph_[wait].lane).wait(awaited.ticket);
    if (awaited.done) timeline_.wait(node.lane, *awaited.done);
    begin = timeline_.mark(node.lane);
  }
  timeline_.push(node.op->name().data());
  instruction.kernel({.inputs = instruction.inputs,
                      .outputs = instruction.outputs,
                      .workspace = {},
                      .microbatch = execution.event.microbatch,
                      .first_write = execution.event.microbatch <= 0,
                      .host = host_});
  timeline_.pop();
  lane_end = timeline_.mark(node.lane);
  execution.done = lane_end;
  TraceEvent event = execution.event;
  event.t0_ns = begin, event.t1_ns = lane_end, event.bytes = instruction.cost.wire_bytes;
  lanes_->record({event, execution.ready, dynamic_cast<const Collective*>(node.op.get()) != nullptr});
}

}  // namespace trine
