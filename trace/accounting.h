// Where a step went: every nanosecond of one rank counted once, so that the categories sum to the step.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/mesh.h"
#include "base/trace_event.h"

namespace trine {

struct StepBreakdown {
  double step_s = 0;                             // the sum of `seconds`, added in order
  std::array<double, kNumEventKinds> seconds{};  // by EventKind
  // Time in which an axis' wire was busy and yet the time counts as something else (compute, mostly), by Axis.
  std::array<double, kAxes.size()> hidden_comm_s{};

  double operator[](EventKind kind) const { return seconds[static_cast<size_t>(kind)]; }
  double hidden(Axis axis) const { return hidden_comm_s[static_cast<size_t>(axis)]; }
};

// What keeps an axis' wire busy, by Axis.
inline constexpr std::array<EventKind, kAxes.size()> kCommKinds = {EventKind::kCommPp, EventKind::kCommDp,
                                                                   EventKind::kCommTp};

// At each instant of [step_begin_ns, step_end_ns) one event counts, with its kind, and kIdle where there is none:
//   1. of the lanes in which an event runs: compute, host, copy, tp, pp, dp, the first of these. So communication
//      counts only where it is exposed;
//   2. of the events in that lane: the one that began last (the innermost, where events nest).
// Events may overlap, come in any order and reach out of the step.
StepBreakdown account(std::span<const TraceEvent> events, int64_t step_begin_ns, int64_t step_end_ns);

// The same as it goes on: which event counts from when to when, -1 where none does (idle). The pieces follow each
// other, fill the step, and summed by the kind of their event they are the breakdown.
struct CountedTime {
  int64_t t0_ns = 0, t1_ns = 0;
  int64_t event = -1;  // index in `events`
  bool operator==(const CountedTime&) const = default;
};
std::vector<CountedTime> counted_times(std::span<const TraceEvent> events, int64_t step_begin_ns,
                                       int64_t step_end_ns);

}  // namespace trine
