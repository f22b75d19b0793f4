// The nodes of lanes other than compute: handed to their lanes, and waited for. A lane whose work passes through
// the host has a thread; a lane of the device is enqueued by the caller.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "runtime/step/comm_lanes.h"
#include "runtime/step/instructions.h"

namespace trine {

class LaneNodes {
 public:
  // The arguments outlive this.
  LaneNodes(const Graph& graph, Instructions& instructions, Timeline& timeline, CommLanes* lanes);

  // REQUIRES: nothing is under way. `host` outlives the step.
  void begin_step(const HostStep& host);
  // `event`: what is known of the node's before it runs. It comes after what the compute lane was given until now,
  // and after the lanes' nodes that it waits for.
  void enqueue(const TraceEvent& event);
  // What the compute lane does from now on comes after its last execution in this step.
  void wait(size_t node);

 private:
  // The last execution of a node.
  struct Execution {
    LaneThread::Ticket ticket = 0;
    Mark ready = 0;  // when it might begin
    TraceEvent event;
    std::optional<Mark> done;  // none yet in this step
  };

  void execute(size_t node);

  const Graph& graph_;
  Instructions& instructions_;
  Timeline& timeline_;
  CommLanes* const lanes_;
  std::vector<std::vector<NodeId>> waits_;      // by node, of the lane itself
  std::vector<Execution> executions_;           // by node
  std::array<Mark, kLanes.size()> lane_end_{};  // of the last node, each written by its lane's thread
  const HostStep* host_ = nullptr;
};

}  // namespace trine
