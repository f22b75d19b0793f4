#include "runtime/comm_lanes.h"

#include <algorithm>
#include <fmt/core.h>

#include "base/error.h"
#include "runtime/trace_recorder.h"

namespace trine {
namespace {

constexpr int kForwardTag = 0, kBackwardTag = 1, kTimesTag = 2;

int tag_of(CommLanes::Edge edge) { return edge.backward ? kBackwardTag : kForwardTag; }

EventKind comm_kind(Lane lane) {
  return lane == Lane::kTp ? EventKind::kCommTp : lane == Lane::kDp ? EventKind::kCommDp : EventKind::kCommPp;
}

// [t0, t1) as `before` until `when`, and as `after` from then on.
void push_split(std::vector<TraceEvent>& events, TraceEvent event, int64_t when, EventKind before,
                EventKind after) {
  const int64_t end = event.t1_ns;
  when = std::clamp(when, event.t0_ns, end);
  if (when > event.t0_ns) {
    TraceEvent wait = event;
    wait.t1_ns = when, wait.kind = before, wait.bytes = 0;
    events.push_back(wait);
  }
  if (when < end || event.bytes > 0) {
    event.t0_ns = when, event.kind = after;
    events.push_back(event);
  }
}

}  // namespace

CommLanes::CommLanes(CommWorld& world, ClockOffset clock) : world_(world), clock_(clock) {
  const Mesh& mesh = world.mesh();
  if (mesh.pp > 1) pipeline_ = std::make_unique<PipelineLane>("pipeline", world[Group::kPipeline]);
  for (const auto& [lane, axis, group] : {std::tuple{Lane::kTp, Axis::kTp, Group::kTp},
                                          {Lane::kDp, Axis::kDp, Group::kDp},
                                          {Lane::kPp, Axis::kPp, Group::kPp}}) {
    state(lane).group = group;
    if (mesh[axis] > 1) state(lane).thread = std::make_unique<LaneThread>(fmt::format("lane {}", name(lane)));
  }
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

void CommLanes::record_collective(const TraceEvent& event) { state(event.lane).records.push_back({event, true}); }

void CommLanes::record_message(const TraceEvent& event) { state(event.lane).records.push_back({event, false}); }

PipelineLane::Ticket CommLanes::send(const void* data, int64_t bytes, Edge edge) {
  sent_ns_[edge].push_back(now_ns() + clock_.offset_ns);
  return pipeline_->send(data, bytes, edge.peer, tag_of(edge));
}

PipelineLane::Ticket CommLanes::receive(void* data, int64_t bytes, Edge edge) {
  return pipeline_->receive(data, bytes, edge.peer, tag_of(edge));
}

void CommLanes::wait_received(PipelineLane::Ticket ticket, Edge edge, TraceEvent event) {
  event.t0_ns = now_ns();
  const int64_t complete_ns = pipeline_->wait(ticket);
  event.t1_ns = now_ns();
  receptions_[edge].push_back({event, complete_ns});
}

void CommLanes::join() {
  if (pipeline_) pipeline_->wait_all();
  for (LaneState& lane : lanes_)
    if (lane.thread) lane.thread->wait(lane.thread->enqueue([] {}));
}

std::vector<TraceEvent> CommLanes::finish_step() {
  join();
  for (LaneState& lane : lanes_)
    if (lane.thread) lane.thread->enqueue([this, &lane] { exchange_entries(lane); });
  if (pipeline_) state(Lane::kPp).thread->enqueue([this] { exchange_send_times(); });
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
    requests.push_back(group.irecv(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer,
                                   kTimesTag + tag_of(edge)));
  }
  for (const auto& [edge, times] : sent_ns_)
    requests.push_back(group.isend(times.data(), static_cast<int64_t>(times.size()), DType::kI64, edge.peer,
                                   kTimesTag + tag_of(edge)));
  for (Request& request : requests) request.wait();
}

void CommLanes::split_collectives(const LaneState& lane, std::vector<TraceEvent>& events) const {
  size_t next = 0;
  for (const Record& record : lane.records) {
    const EventKind kind = comm_kind(record.event.lane);
    const EventKind wait = record.event.lane == Lane::kPp ? EventKind::kBubble : EventKind::kWait;
    const int64_t ready = record.collective ? lane.entries[next++] - clock_.offset_ns : record.event.t0_ns;
    push_split(events, record.event, ready, wait, kind);
  }
}

void CommLanes::split_receptions(std::vector<TraceEvent>& events) const {
  for (const auto& [edge, list] : receptions_) {
    const std::vector<int64_t>& sent = sender_ns_.at(edge);
    for (size_t i = 0; i < list.size(); ++i) {
      const Reception& reception = list[i];
      const int64_t sent_ns = sent[i] - clock_.offset_ns;
      TraceEvent waited = reception.waited;
      push_split(events, waited, sent_ns, EventKind::kBubble, EventKind::kCommPp);
      if (reception.complete_ns < waited.t0_ns && sent_ns < reception.complete_ns) {  // it came while we computed
        waited.t0_ns = sent_ns, waited.t1_ns = reception.complete_ns, waited.kind = EventKind::kCommPp;
        events.push_back(waited);
      }
    }
  }
}

}  // namespace trine
