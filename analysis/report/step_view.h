// One step on all ranks at once: what counts when, and whom each wait was for.
#pragma once

#include <vector>

#include "trace/trace.h"

namespace trine {

struct RankView {
  const RankTrace* rank = nullptr;
  const StepTrace* step = nullptr;
  std::vector<CountedTime> times;  // see trace/accounting.h
  std::vector<int> waits_for;      // by event: the rank that a wait or bubble was for; -1: none, or not known
};

struct StepView {
  const Trace* trace = nullptr;
  int step = 0;
  std::vector<RankView> ranks;  // those that have the step, rising

  const RankView* find(int rank) const;  // nullptr: not read
};

// A collective waits for the rank of its group that came last; a message for its sender; the end of a step, which
// is the host's, for the rank that came there last.
StepView view_step(const Trace& trace, int step);

// Of all ranks, rising.
std::vector<int> steps_of(const Trace& trace);

EventKind kind_of(const RankView& view, const CountedTime& time);
inline double seconds(const CountedTime& time) { return static_cast<double>(time.t1_ns - time.t0_ns) * 1e-9; }

// The rank that names a communicator: its first.
int first_of_group(const Mesh& mesh, Coordinate at, Axis axis);

// REQUIRES: `lane` is one of tp, pp, dp.
Axis axis_of(Lane lane);

}  // namespace trine
