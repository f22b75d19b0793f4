#include "runtime/step/trace_recorder.h"

#include <algorithm>
#include <bit>
#include <climits>

namespace trine {
namespace {
constexpr TraceEvent kEmptySlot{.step = INT_MIN};
}  // namespace

TraceRecorder::TraceRecorder(size_t capacity_events)
    : events_(std::bit_ceil(std::max<size_t>(capacity_events, 1)), kEmptySlot), mask_(events_.size() - 1) {}

std::vector<TraceEvent> TraceRecorder::step(int step) const {
  // Backwards from the newest: a recent step costs only its own events.
  std::vector<TraceEvent> events;
  const size_t oldest = num_recorded_ - std::min(num_recorded_, events_.size());
  for (size_t i = num_recorded_; i > oldest; --i) {
    const TraceEvent& event = events_[(i - 1) & mask_];
    if (event.step == step) {
      events.push_back(event);
    } else if (!events.empty()) {
      break;
    }
  }
  std::reverse(events.begin(), events.end());
  return events;
}

}  // namespace trine
