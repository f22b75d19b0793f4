#include "runtime/step/comm_lanes.h"

#include <algorithm>
#include <fmt/core.h>

#include "base/error.h"
#include "trace/classify.h"

namespace trine {
namespace {

// Of the times of an edge's messages.
int times_tag(PipelineEdge edge) { return edge.backward ? 3 : 2; }

}  // namespace

CommLanes::CommLanes(CommWorld& world, ClockOffset clock) : world_(world), clock_(clock) {
  state(Lane::kTp).group = Group::kTp;
  state(Lane::kDp).group = Group::kDp;
  state(Lane::kPp).group = Group::kPp;
}

CommLanes::LaneState& CommLanes::state(Lane lane) {
  TRINE_CHECK(lane == Lane::kTp || lane == Lane::kDp || lane == Lane::kPp, "lane {} has no thread", name(lane));
  return lanes_[lane == Lane::kTp ? 0 : lane == Lane::kDp ? 1 : 2];
}

Communicator& CommLanes::group(Axis axis) {
  return world_[axis == Axis::kTp ? Group::kTp : axis == Axis::kDp ? Group::kDp : Group::kPp];
}

LaneThread& CommLanes::thread(Lane lane) {
  TRINE_CHECK(state(lane).thread != nullptr, "no other rank is on lane {}", name(lane));
  return *state(lane).thread;
}

void CommLanes::talk_on_device(std::unique_ptr<DeviceWorld> device, std::chrono::milliseconds timeout) {
  device_ = std::move(device);
  timeout_ = timeout;
}

void CommLanes::attach(Backend& backend) {
  detach();
  timeline_ = &backend.timeline();
  const Mesh& mesh = world_.mesh();
  for (const auto& [lane, axis] : {std::pair{Lane::kTp, Axis::kTp}, {Lane::kDp, Axis::kDp}, {Lane::kPp, Axis::kPp}})
    if (mesh[axis] > 1) state(lane).thread = std::make_unique<LaneThread>(fmt::format("lane {}", name(lane)));
  if (mesh.pp > 1) {
    Communicator& group = world_[Group::kPipeline];
    edges_ = device_                     ? make_device_edges(*device_, backend)
             : timeline_->asynchronous() ? make_staged_edges(group, backend)
                                         : make_host_edges(group);
  }
  if (device_)
    watch_ = std::make_unique<DeviceWatch>(*timeline_, *device_, mesh.rank(world_.coordinate()), timeout_);
}

void CommLanes::detach() {
  for (LaneState& lane : lanes_) lane.thread.reset();
  edges_.reset();
  watch_.reset();
  timeline_ = nullptr;
}

PipelineEdges::Ticket CommLanes::send(const std::byte* data, int64_t bytes, PipelineEdge edge, Mark ready) {
  sent_ns_[edge].push_back(ready);
  return edges_->send(edge, data, bytes, ready);
}

PipelineEdges::Ticket CommLanes::receive(std::byte* data, int64_t bytes, PipelineEdge edge, Mark ready) {
  return edges_->receive(edge, data, bytes, ready);
}

void CommLanes::wait_received(PipelineEdges::Ticket ticket, PipelineEdge edge, TraceEvent event) {
  event.t0_ns = timeline_->mark(Lane::kCompute);
  const Mark complete = edges_->wait_received(ticket);
  event.t1_ns = timeline_->mark(Lane::kCompute);
  receptions_[edge].push_back({event, complete});
}

void CommLanes::join() {
  if (edges_) edges_->wait_all();
  for (LaneState& lane : lanes_)
    if (lane.thread) lane.thread->wait(lane.thread->enqueue([] {}));
  if (timeline_) timeline_->synchronize_all();
  if (watch_) watch_->check();
}

// REQUIRES: all is done. Sends get rank 0's clock.
void CommLanes::marks_to_times() {
  const auto convert = [&](TraceEvent& event) {
    event.t0_ns = timeline_->time_ns(event.t0_ns), event.t1_ns = timeline_->time_ns(event.t1_ns);
  };
  for (LaneState& lane : lanes_)
    for (Record& record : lane.records) {
      convert(record.event);
      record.event.t0_ns = std::max(record.event.t0_ns, timeline_->time_ns(record.ready));
    }
  for (auto& [edge, list] : receptions_)
    for (Reception& reception : list) {
      convert(reception.waited);
      reception.complete_ns = timeline_->time_ns(reception.complete_ns);
    }
  for (auto& [edge, list] : sent_ns_)
    for (int64_t& sent : list) sent = timeline_->time_ns(sent) + clock_.offset_ns;
}

std::vector<TraceEvent> CommLanes::finish_step() {
  join();
  marks_to_times();
  for (LaneState& lane : lanes_)
    if (lane.thread) lane.thread->enqueue([this, &lane] { exchange_entries(lane); });
  if (edges_) state(Lane::kPp).thread->enqueue([this] { exchange_send_times(); });
  join();
  std::vector<TraceEvent> events;
  for (const LaneState& lane : lanes_) split_collectives(lane, events);
  split_receptions(events);
  discard_step();
  return events;
}

void CommLanes::discard_step() {
  join();
  for (LaneState& lane : lanes_) lane.records.clear();
  for (auto& [edge, times] : sent_ns_) times.clear();
  for (auto& [edge, list] : receptions_) list.clear();
}

// Afterwards `entries` holds, by collective, when the last rank came.
void CommLanes::exchange_entries(LaneState& lane) {
  Communicator& group = world_[lane.group];
  std::vector<int64_t> own;
  for (const Record& record : lane.records)
    if (record.collective) own.push_back(record.event.t0_ns + clock_.offset_ns);
  const auto count = static_cast<int64_t>(own.size());
  std::vector<int64_t> all(own.size() * static_cast<size_t>(group.size()));
  group.all_gather(own.data(), all.data(), count * group.size(), DType::kI64);
  lane.entries = std::move(own);
  for (size_t i = 0; i < lane.entries.size(); ++i)
    for (size_t r = 0; r < static_cast<size_t>(group.size()); ++r)
      lane.entries[i] = std::max(lane.entries[i], all[r * lane.entries.size() + i]);
}

void CommLanes::exchange_send_times() {
  Communicator& group = world_[Group::kPp];
  std::vector<Request> requests;
  for (const auto& [edge, list] : receptions_) {
    std::vector<int64_t>& times = sender_ns_[edge];
    times.resize(list.size());
    requests.push_back(
        group.irecv(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer, times_tag(edge)));
  }
  for (const auto& [edge, times] : sent_ns_)
    requests.push_back(
        group.isend(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer, times_tag(edge)));
  for (Request& request : requests) request.wait();
}

void CommLanes::split_collectives(const LaneState& lane, std::vector<TraceEvent>& events) const {
  size_t next = 0;
  for (const Record& record : lane.records) {
    TraceEvent event = record.event;
    int64_t last_ready = event.t0_ns;
    if (record.collective) {
      event.sequence = static_cast<int32_t>(next);
      last_ready = lane.entries[next++] - clock_.offset_ns;
    }
    classify_collective(event, last_ready, events);
  }
}

void CommLanes::split_receptions(std::vector<TraceEvent>& events) const {
  for (const auto& [edge, list] : receptions_) {
    const std::vector<int64_t>& sent = sender_ns_.at(edge);
    for (size_t i = 0; i < list.size(); ++i) {
      TraceEvent waited = list[i].waited;
      waited.peer = edge.peer, waited.sequence = static_cast<int32_t>(i);
      classify_reception(waited, sent[i] - clock_.offset_ns, list[i].complete_ns, events);
    }
  }
}

}  // namespace trine
