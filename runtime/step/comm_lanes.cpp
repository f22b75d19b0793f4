#include "runtime/step/comm_lanes.h"

#include <algorithm>
#include <fmt/core.h>

#include "base/error.h"
#include "runtime/step/link_pacer.h"
#include "trace/classify.h"

namespace trine {
namespace {

// Of the times of an edge's messages.
int times_tag(PipelineEdge edge) { return edge.backward ? 3 : 2; }

}  // namespace

CommLanes::CommLanes(CommWorld& world, ClockAlignment clocks) : world_(world), clocks_(std::move(clocks)) {
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
    if (pacer_) edges_ = pacer_->paced(std::move(edges_));
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
    for (int64_t& sent : list) sent = timeline_->time_ns(sent) + clock().offset_ns;
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

// Afterwards `entries` holds, by collective, when the last rank came. Where ranks read several clocks, the time when
// they left stands behind the times.
void CommLanes::exchange_entries(LaneState& lane) {
  Communicator& group = world_[lane.group];
  std::vector<int64_t> own;
  for (const Record& record : lane.records)
    if (record.collective) own.push_back(record.event.t0_ns + clock().offset_ns);
  const size_t num_entries = own.size();
  if (!clocks_.one_clock()) own.push_back(clocks_.now_ns());
  const size_t count = own.size();
  std::vector<int64_t> all(count * static_cast<size_t>(group.size()));
  group.all_gather(own.data(), all.data(), static_cast<int64_t>(all.size()), DType::kI64);
  own.resize(num_entries);
  lane.entries = std::move(own);
  for (int member = 0; member < group.size(); ++member) {
    const int64_t* of_member = &all[static_cast<size_t>(member) * count];
    for (size_t i = 0; i < num_entries; ++i) lane.entries[i] = std::max(lane.entries[i], of_member[i]);
    if (!clocks_.one_clock()) clocks_.arrived(lane.group, member, of_member[num_entries]);
  }
}

// Of an edge's messages. Where ranks read several clocks, the time when they left stands behind the times.
void CommLanes::exchange_send_times() {
  Communicator& group = world_[Group::kPp];
  const size_t num_stamps = clocks_.one_clock() ? 0 : 1;
  std::vector<Request> sends, receives;
  for (const auto& [edge, list] : receptions_) {
    std::vector<int64_t>& times = sender_ns_[edge];
    times.resize(list.size() + num_stamps);
    receives.push_back(
        group.irecv(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer, times_tag(edge)));
  }
  for (auto& [edge, times] : sent_ns_) {
    times.resize(times.size() + num_stamps, clocks_.now_ns());
    sends.push_back(
        group.isend(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer, times_tag(edge)));
  }
  auto receive = receives.begin();
  for (const auto& [edge, list] : receptions_) {
    (receive++)->wait();
    if (num_stamps > 0) clocks_.arrived(Group::kPp, edge.peer, sender_ns_[edge].back());
  }
  for (Request& send : sends) send.wait();
}

void CommLanes::split_collectives(const LaneState& lane, std::vector<TraceEvent>& events) const {
  size_t next = 0;
  for (const Record& record : lane.records) {
    TraceEvent event = record.event;
    int64_t last_ready = event.t0_ns;
    if (record.collective) {
      event.sequence = static_cast<int32_t>(next);
      last_ready = lane.entries[next++] - clock().offset_ns;
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
      classify_reception(waited, sent[i] - clock().offset_ns, list[i].complete_ns, events);
    }
  }
}

}  // namespace trine
