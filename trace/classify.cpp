#include "trace/classify.h"

#include <algorithm>

namespace trine {
namespace {

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

void classify_collective(const TraceEvent& event, int64_t last_ready_ns, std::vector<TraceEvent>& to) {
  const EventKind wait = event.lane == Lane::kPp ? EventKind::kBubble : EventKind::kWait;
  push_split(to, event, last_ready_ns, wait, comm_kind(event.lane));
}

void classify_reception(const TraceEvent& waited, int64_t sent_ns, int64_t arrived_ns,
                        std::vector<TraceEvent>& to) {
  const bool hidden = sent_ns < arrived_ns && arrived_ns < waited.t0_ns;
  TraceEvent event = waited;
  if (hidden) event.bytes = 0;  // they count once
  push_split(to, event, sent_ns, EventKind::kBubble, EventKind::kCommPp);
  if (!hidden) return;
  event = waited;
  event.t0_ns = sent_ns, event.t1_ns = arrived_ns, event.kind = EventKind::kCommPp;
  to.push_back(event);
}

}  // namespace trine
