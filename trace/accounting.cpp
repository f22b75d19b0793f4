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

// An event of which only what lies within the step counts.
struct Inside {
  int64_t t0_ns = 0, t1_ns = 0;
  size_t index = 0;  // in the events as they were given
  Lane lane = Lane::kCompute;
  EventKind kind = EventKind::kIdle;
};

struct CountsAfter {
  bool operator()(const Inside& a, const Inside& b) const {
    const int pa = precedence(a.lane), pb = precedence(b.lane);
    return pa != pb ? pa > pb : a.t0_ns < b.t0_ns;
  }
};

using Nanoseconds = std::array<int64_t, kNumEventKinds>;

std::vector<Inside> inside_of(std::span<const TraceEvent> events, int64_t begin, int64_t end) {
  TRINE_CHECK(begin <= end, "a step from {} to {} ns", begin, end);
  std::vector<Inside> inside;
  inside.reserve(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const int64_t t0 = std::max(events[i].t0_ns, begin), t1 = std::min(events[i].t1_ns, end);
    if (t0 < t1) inside.push_back({t0, t1, i, events[i].lane, events[i].kind});
  }
  const auto earlier = [](const Inside& a, const Inside& b) { return a.t0_ns < b.t0_ns; };
  if (!std::ranges::is_sorted(inside, earlier)) std::ranges::stable_sort(inside, earlier);
  return inside;
}

// f(from, until, what counts then or nullptr) for each piece of [begin, end), in order.
// REQUIRES: events sorted by begin, each within [begin, end) and not empty.
template <typename F>
void each_counted(const std::vector<Inside>& events, int64_t begin, int64_t end, F f) {
  std::priority_queue<Inside, std::vector<Inside>, CountsAfter> running;  // ended ones leave when they surface
  size_t next = 0;
  for (int64_t now = begin; now < end;) {
    // Most events are alone in their time.
    if (running.empty() && next < events.size() && events[next].t0_ns <= now && now < events[next].t1_ns &&
        (next + 1 == events.size() || events[next + 1].t0_ns >= events[next].t1_ns)) {
      f(now, events[next].t1_ns, &events[next]);
      now = events[next++].t1_ns;
      continue;
    }
    while (next < events.size() && events[next].t0_ns <= now) running.push(events[next++]);
    while (!running.empty() && running.top().t1_ns <= now) running.pop();
    int64_t until = next < events.size() ? events[next].t0_ns : end;
    if (!running.empty()) until = std::min(until, running.top().t1_ns);
    f(now, until, running.empty() ? nullptr : &running.top());
    now = until;
  }
}

// The time in which at least one event of each kind ran. REQUIRES: sorted by begin.
Nanoseconds busy_time(const std::vector<Inside>& events) {
  Nanoseconds busy{}, covered_until{};
  covered_until.fill(INT64_MIN);
  for (const Inside& event : events) {
    int64_t& covered = covered_until[static_cast<size_t>(event.kind)];
    busy[static_cast<size_t>(event.kind)] += std::max<int64_t>(event.t1_ns - std::max(event.t0_ns, covered), 0);
    covered = std::max(covered, event.t1_ns);
  }
  return busy;
}

}  // namespace

StepBreakdown account(std::span<const TraceEvent> events, int64_t step_begin_ns, int64_t step_end_ns) {
  const std::vector<Inside> inside = inside_of(events, step_begin_ns, step_end_ns);
  Nanoseconds counted{};
  each_counted(inside, step_begin_ns, step_end_ns, [&](int64_t from, int64_t until, const Inside* event) {
    counted[static_cast<size_t>(event ? event->kind : EventKind::kIdle)] += until - from;
  });
  const Nanoseconds busy = busy_time(inside);
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

std::vector<CountedTime> counted_times(std::span<const TraceEvent> events, int64_t step_begin_ns,
                                       int64_t step_end_ns) {
  const std::vector<Inside> inside = inside_of(events, step_begin_ns, step_end_ns);
  std::vector<CountedTime> times;
  each_counted(inside, step_begin_ns, step_end_ns, [&](int64_t from, int64_t until, const Inside* event) {
    const int64_t index = event ? static_cast<int64_t>(event->index) : -1;
    if (!times.empty() && times.back().event == index)
      times.back().t1_ns = until;
    else
      times.push_back({from, until, index});
  });
  return times;
}

}  // namespace trine
