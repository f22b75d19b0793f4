// What a rank does beside computing: a lane of collectives for each mesh axis, and the messages of the pipeline.
// Keeps what each took, and tells waiting for others from moving bytes once a step is over.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/trace_event.h"
#include "comm/clock_alignment.h"
#include "comm/device_group.h"
#include "comm/lane_thread.h"
#include "comm/world.h"
#include "runtime/device/backend.h"
#include "runtime/device/device_watch.h"
#include "runtime/step/pipeline_edges.h"

namespace trine {

class LinkPacer;

class CommLanes {
 public:
  // `world` outlives the lanes. `clocks`: what the times of the backend's timeline are of; by default all ranks read
  // one clock.
  explicit CommLanes(CommWorld& world, ClockAlignment clocks = {});

  // Before attach(): collectives and pipeline messages go from device to device, and the host only enqueues them.
  // HangError, PeerLostError of a step's end, if nothing moves on the device for `timeout` (0: for ever).
  void talk_on_device(std::unique_ptr<DeviceWorld> device, std::chrono::milliseconds timeout);
  // Before attach(): collectives and pipeline messages take the time of modelled links (nullptr: their own). It
  // outlives the lanes' work.
  void pace(LinkPacer* pacer) { pacer_ = pacer; }
  LinkPacer* pacer() const { return pacer_; }
  // Starts the lanes, for work on this backend's memory, and ends them: after detach() nothing uses it any more.
  // What is under way is waited for, which its own timeout ends.
  void attach(Backend& backend);
  void detach();

  CommWorld& world() { return world_; }
  // From this rank's clock to rank 0's, as known after the last realign_clocks().
  const ClockOffset& clock() const { return clocks_.own(); }
  // By what the messages of the last finish_step() showed. Collective; not while a step runs.
  void realign_clocks() { clocks_.realign(); }
  Communicator& group(Axis axis);
  bool on_device() const { return device_ != nullptr; }
  DeviceGroup* device_group(Axis axis) { return device_ ? &(*device_)[axis] : nullptr; }
  // Lanes tp, dp and pp, while attached; of an axis with one rank there is none.
  LaneThread& thread(Lane lane);

  // What a lane did; by the lane's own thread, or the one that enqueues for it.
  struct Record {
    TraceEvent event;         // its times are marks
    Mark ready = 0;           // it might not begin before
    bool collective = false;  // one that all ranks of the lane's group make in the same order; else a message
  };
  void record(const Record& record) { state(record.event.lane).records.push_back(record); }

  // Pipeline messages (runtime/step/pipeline_edges.h).
  PipelineEdges::Ticket send(const std::byte* data, int64_t bytes, PipelineEdge edge, Mark ready);
  PipelineEdges::Ticket receive(std::byte* data, int64_t bytes, PipelineEdge edge, Mark ready);
  // How many messages of this step went out on an edge.
  int32_t num_sent(PipelineEdge edge) const {
    const auto sent = sent_ns_.find(edge);
    return sent == sent_ns_.end() ? 0 : static_cast<int32_t>(sent->second.size());
  }
  void wait_sent(PipelineEdges::Ticket ticket) { edges_->wait_sent(ticket); }
  // Receives of an edge are waited for in their order. `event` labels the time in which the compute lane waits.
  void wait_received(PipelineEdges::Ticket ticket, PipelineEdge edge, TraceEvent event);

  // Waits for everything under way, on the device too.
  void join();
  // join(), then exchanges with the other ranks when each was ready, and returns the step's events, told apart into
  // waiting and moving bytes (trace/classify.h). Collective.
  std::vector<TraceEvent> finish_step();
  void discard_step();  // join(), and forgets the step's events

 private:
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
  void marks_to_times();
  void exchange_entries(LaneState& lane);
  void exchange_send_times();
  void split_collectives(const LaneState& lane, std::vector<TraceEvent>& events) const;
  void split_receptions(std::vector<TraceEvent>& events) const;

  CommWorld& world_;
  ClockAlignment clocks_;
  Timeline* timeline_ = nullptr;
  std::unique_ptr<DeviceWorld> device_;
  LinkPacer* pacer_ = nullptr;
  std::chrono::milliseconds timeout_{};
  std::unique_ptr<DeviceWatch> watch_;
  std::map<PipelineEdge, std::vector<int64_t>> sent_ns_,
      sender_ns_;  // on rank 0's clock; of own sends, and of what is received
  std::map<PipelineEdge, std::vector<Reception>> receptions_;
  std::unique_ptr<PipelineEdges> edges_;
  std::array<LaneState, 3> lanes_;  // tp, dp, pp: last, their threads use the rest
};

}  // namespace trine
