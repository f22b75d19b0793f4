// The messages of a pipeline rank, from and to its device's memory. Three ways: straight from memory that the host
// shares, staged through host memory, or from device to device.
//
// What a message between pipeline stages passes on its way, from the step program to the wire, and what each is for:
//
//   Executor               which bytes, at which place in the step (runtime/step/executor.h)
//   CommLanes              when it was ready, sent and there: the trace's events (runtime/step/comm_lanes.h)
//   PipelineEdges          between which memories it goes, in order with the device's work: this file
//   PipelineLane           that it moves while the rank computes: a thread that polls (comm/pipeline_lane.h)
//   Communicator, Request  how long one waits for it, what the error then says, how many bytes it was
//                          (comm/communicator.h)
//   Transport, Message     how bytes get to another rank: MPI, or a copy between threads (comm/transport.h)
//
// From device to device, DeviceWorld (comm/device_group.h) stands in the place of PipelineLane and all after it.
#pragma once

#include <memory>

#include "comm/device_group.h"
#include "comm/pipeline_lane.h"
#include "runtime/device/backend.h"

namespace trine {

// Calls come from one thread.
class PipelineEdges {
 public:
  using Ticket = int64_t;

  virtual ~PipelineEdges() = default;
  // The message takes its bytes once `ready` is reached, and owns them until wait_sent().
  virtual Ticket send(PipelineEdge edge, const std::byte* data, int64_t bytes, Mark ready) = 0;
  // The message may write `data` once `ready` is reached.
  virtual Ticket receive(PipelineEdge edge, std::byte* data, int64_t bytes, Mark ready) = 0;
  // What is enqueued in the compute lane from now on may write what was sent.
  virtual void wait_sent(Ticket ticket) = 0;
  // What is enqueued in the compute lane from now on may read what was received. Returns when it had arrived.
  virtual Mark wait_received(Ticket ticket) = 0;
  // Blocks until every message has left the host; on the device it may still be under way.
  virtual void wait_all() = 0;
};

// The device works in the host's memory. `group`: the ranks along pp, nobody else's;
// outlives this, as the others do.
std::unique_ptr<PipelineEdges> make_host_edges(Communicator& group);
// Through host memory: one buffer for each buffer of the device.
std::unique_ptr<PipelineEdges> make_staged_edges(Communicator& group, Backend& backend);
// Each directed edge has a queue of its own, so that none waits for another.
std::unique_ptr<PipelineEdges> make_device_edges(DeviceWorld& world, Backend& backend);

}  // namespace trine
