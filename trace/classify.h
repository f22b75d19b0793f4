// What the time of communication was: waiting for a rank that comes late, the pipeline's bubble, or bytes on the
// wire. A measured and a predicted trace are judged by these same functions.
#pragma once

#include <cstdint>
#include <vector>

#include "base/trace_event.h"

namespace trine {

// `event` is a collective of a lane, from when its rank was ready to its end; the last rank of the group was ready
// at `last_ready_ns` (a message: its own begin). Appends the part before as kWait (between stages: kBubble) without
// bytes, and the rest as communication of the lane's axis. Nothing is lost or added: the parts make up [t0, t1).
void classify_collective(const TraceEvent& event, int64_t last_ready_ns, std::vector<TraceEvent>& to);

// `waited` is the time in which the compute lane waited for a pipeline message, empty if it had arrived before.
// Appends the part before the message was sent as kBubble, and the rest as kCommPp. A message that arrived while
// the rank computed was on the wire meanwhile: that time too, as kCommPp. The bytes stand in the part on the wire.
void classify_reception(const TraceEvent& waited, int64_t sent_ns, int64_t arrived_ns, std::vector<TraceEvent>& to);

// What keeps the wire of a lane's axis busy.
constexpr EventKind comm_kind(Lane lane) {
  return lane == Lane::kTp ? EventKind::kCommTp : lane == Lane::kDp ? EventKind::kCommDp : EventKind::kCommPp;
}
constexpr bool is_wire(EventKind kind) {
  return kind == EventKind::kCommTp || kind == EventKind::kCommPp || kind == EventKind::kCommDp;
}
constexpr bool is_waiting(EventKind kind) { return kind == EventKind::kWait || kind == EventKind::kBubble; }

}  // namespace trine
