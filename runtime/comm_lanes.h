// What a rank does beside computing: a thread of collectives for each mesh axis, and the messages of the pipeline.
// Keeps what each took, and tells waiting for others from moving bytes once a step is over.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/trace_event.h"
#include "comm/clock.h"
#include "comm/lane_thread.h"
#include "comm/pipeline_lane.h"
#include "comm/world.h"

namespace trine {

class CommLanes {
 public:
  // `world` outlives the lanes.
  explicit CommLanes(CommWorld& world, ClockOffset clock = {});

  CommWorld& world() { return world_; }
  const ClockOffset& clock() const { return clock_; }
  Communicator& group(Axis axis);
  // Lanes tp, dp and pp; of an axis with one rank there is none.
  LaneThread& thread(Lane lane);

  // Of a collective that all ranks of the lane's group make in the same order, or of a message between two of them;
  // by the lane's own thread. t0 = when this rank was ready for it.
  void record_collective(const TraceEvent& event);
  void record_message(const TraceEvent& event);

  // Pipeline messages, all by one thread. `peer` is a pp coordinate; gradients have an edge of their own.
  struct Edge {
    int peer = 0;
    bool backward = false;
    auto operator<=>(const Edge&) const = default;
  };
  PipelineLane::Ticket send(const void* data, int64_t bytes, Edge edge);
  PipelineLane::Ticket receive(void* data, int64_t bytes, Edge edge);
  void wait_sent(PipelineLane::Ticket ticket) { pipeline_->wait(ticket); }
  // Blocks until it is here. Receives of an edge are waited for in their order. `event` labels the time.
  void wait_received(PipelineLane::Ticket ticket, Edge edge, TraceEvent event);

  // Waits for everything under way.
  void join();
  // join(), then exchanges with the other ranks when each was ready, and returns the step's events: of a collective
  // the part before the last rank came is a wait (between stages: the pipeline's bubble), the rest is its axis'
  // communication; of a wait for a pipeline message the part before it was sent is bubble. Collective.
  std::vector<TraceEvent> finish_step();
  void discard_step();  // join(), and forgets the step's events

 private:
  struct Record {
    TraceEvent event;
    bool collective = false;
  };
  struct Reception {
    TraceEvent waited;
    int64_t complete_ns = 0;
  };
  struct LaneState {
    Group group = Group::kWorld;
    std::vector<Record> records;  // by the thread, read after join()
    std::vector<int64_t> entries;
    std::unique_ptr<LaneThread> thread;
  };

  LaneState& state(Lane lane);
  void exchange_entries(LaneState& lane);
  void exchange_send_times();
  void split_collectives(const LaneState& lane, std::vector<TraceEvent>& events) const;
  void split_receptions(std::vector<TraceEvent>& events) const;

  CommWorld& world_;
  const ClockOffset clock_;
  std::map<Edge, std::vector<int64_t>> sent_ns_,
      sender_ns_;  // on rank 0's clock; of own sends, and of what is received
  std::map<Edge, std::vector<Reception>> receptions_;
  std::unique_ptr<PipelineLane> pipeline_;
  std::array<LaneState, 3> lanes_;  // tp, dp, pp: last, their threads use the rest
};

}  // namespace trine
