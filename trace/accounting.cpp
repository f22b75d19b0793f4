#include "trace/accounting.h"

#include <algorithm>
#include <queue>
#include <vector>

#include "base/error.h"

namespace trine {
namespace {

// Smaller counts before larger.
int precedence(Lane lane) {
  switch (lane) {
    case Lane::kCompute:
      return 0;
    case Lane::kHost:
      return 1;
    case Lane::kCopy:
      return 2;
    case Lane::kTp:
      return 3;
    case Lane::kPp:
      return 4;
    case Lane::kDp:
      return 5;
  }
  return 6;
}

struct CountsAfter {
  bool operator()(const TraceEvent& a, const TraceEvent& b) const {
    const int pa = precedence(a.lane), pb = precedence(b.lane);
    return pa != pb ? pa > pb : a.t0_ns < b.t0_ns;
  }
};

using Nanoseconds = std::array<int64_t, kNumEventKinds>;

// REQUIRES: events sorted by begin, each within [begin, end) and not empty.
Nanoseconds count_each_instant_once(const std::vector<TraceEvent>& events, int64_t begin, int64_t end) {
  Nanoseconds counted{};
  std::priority_queue<TraceEvent, std::vector<TraceEvent>, CountsAfter>
      running;  // ended ones leave when they surface
  size_t next = 0;
  for (int64_t now = begin; now < end;) {
    while (next < events.size() && events[next].t0_ns <= now) running.push(events[next++]);
    while (!running.empty() && running.top().t1_ns <= now) running.pop();
    int64_t until = next < events.size() ? events[next].t0_ns : end;
    if (!running.empty()) until = std::min(until, running.top().t1_ns);
    const EventKind kind = running.empty() ? EventKind::kIdle : running.top().kind;
    counted[static_cast<size_t>(kind)] += until - now;
    now = until;
  }
  return counted;
}

// The time in which at least one event of each kind ran. REQUIRES: sorted by begin.
Nanoseconds busy_time(const std::vector<TraceEvent>& events) {
  Nanoseconds busy{}, covered_until{};
  covered_until.fill(INT64_MIN);
  for (const TraceEvent& event : events) {
    int64_t& covered = covered_until[static_cast<size_t>(event.kind)];
    busy[static_cast<size_t>(event.kind)] += std::max<int64_t>(event.t1_ns - std::max(event.t0_ns, covered), 0);
    covered = std::max(covered, event.t1_ns);
  }
  return busy;
}

}  // namespace

StepBreakdown account(std::span<const TraceEvent> events, int64_t step_begin_ns, int64_t step_end_ns) {
  TRINE_CHECK(step_begin_ns <= step_end_ns, "a step from {} to {} ns", step_begin_ns, step_end_ns);
  std::vector<TraceEvent> inside;
  inside.reserve(events.size());
  for (TraceEvent event : events) {
    event.t0_ns = std::max(event.t0_ns, step_begin_ns);
    event.t1_ns = std::min(event.t1_ns, step_end_ns);
    if (event.t0_ns < event.t1_ns) inside.push_back(event);
  }
  std::stable_sort(inside.begin(), inside.end(),
                   [](const TraceEvent& a, const TraceEvent& b) { return a.t0_ns < b.t0_ns; });

  const Nanoseconds counted = count_each_instant_once(inside, step_begin_ns, step_end_ns), busy = busy_time(inside);
  StepBreakdown breakdown;
  for (size_t k = 0; k < counted.size(); ++k) {
    breakdown.seconds[k] = static_cast<double>(counted[k]) * 1e-9;
    breakdown.step_s += breakdown.seconds[k];
  }
  for (size_t axis = 0; axis < kAxes.size(); ++axis) {
    const size_t kind = static_cast<size_t>(kCommKinds[axis]);
    breakdown.hidden_comm_s[axis] = static_cast<double>(busy[kind] - counted[kind]) * 1e-9;
  }
  return breakdown;
}

}  // namespace trine
