#include "analysis/report/step_view.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "trace/classify.h"

namespace trine {
namespace {

// A rank's part in a collective.
struct Part {
  Lane lane;
  int group, sequence;  // the group by its first rank
  size_t view;          // index in StepView::ranks
  int64_t ready_ns;
  size_t event;

  auto collective() const { return std::tuple(lane, group, sequence); }
};

bool is_message(const TraceEvent& event) { return event.lane == Lane::kPp && event.peer >= 0; }
bool is_collective(const TraceEvent& event) {
  return (event.lane == Lane::kTp || event.lane == Lane::kDp || event.lane == Lane::kPp) && event.sequence >= 0 &&
         !is_message(event) && (is_wire(event.kind) || is_waiting(event.kind));
}
bool is_end_of_step(const TraceEvent& event) {
  return event.lane == Lane::kHost && event.kind == EventKind::kWait && event.node < 0;
}

std::vector<Part> parts_of(const StepView& view) {
  std::vector<Part> parts;
  for (size_t r = 0; r < view.ranks.size(); ++r) {
    const RankView& rank = view.ranks[r];
    for (size_t i = 0; i < rank.step->events.size(); ++i) {
      const TraceEvent& event = rank.step->events[i];
      if (!is_collective(event)) continue;
      const int first = first_of_group(view.trace->mesh, rank.rank->coordinate, axis_of(event.lane));
      parts.push_back({event.lane, first, event.sequence, r, event.t0_ns, i});
    }
  }
  std::ranges::sort(parts, {}, [](const Part& p) { return std::tuple(p.collective(), p.view, p.ready_ns); });
  return parts;
}

// Collectives: the last of the group is the one whose first part begins last.
void attribute_collectives(StepView& view) {
  const std::vector<Part> parts = parts_of(view);
  for (size_t from = 0, until = 0; from < parts.size(); from = until) {
    size_t last = from;
    bool waited = false;  // does the last one wait itself, then it was for a rank that was not read
    for (until = from; until < parts.size() && parts[until].collective() == parts[from].collective(); ++until) {
      const bool first_part = until == from || parts[until].view != parts[until - 1].view;
      if (first_part && parts[until].ready_ns >= parts[last].ready_ns) last = until;
    }
    const RankView& of_last = view.ranks[parts[last].view];
    const TraceEvent& event = of_last.step->events[parts[last].event];
    // Clocks are right to a microsecond or so.
    waited = is_waiting(event.kind) && event.t1_ns - event.t0_ns > 10'000 + 2 * of_last.step->clock.error_ns;
    for (size_t i = from; i < until && !waited; ++i) {
      RankView& rank = view.ranks[parts[i].view];
      if (is_waiting(rank.step->events[parts[i].event].kind) && parts[i].view != parts[last].view)
        rank.waits_for[parts[i].event] = of_last.rank->rank;
    }
  }
}

void attribute_messages_and_ends(StepView& view) {
  const RankView* last = nullptr;
  int64_t last_ns = INT64_MIN;
  for (const RankView& rank : view.ranks)
    for (const TraceEvent& event : rank.step->events)
      if (is_end_of_step(event) && event.t0_ns > last_ns) last = &rank, last_ns = event.t0_ns;
  for (RankView& rank : view.ranks)
    for (size_t i = 0; i < rank.step->events.size(); ++i) {
      const TraceEvent& event = rank.step->events[i];
      const Coordinate at = rank.rank->coordinate;
      if (is_message(event) && is_waiting(event.kind))
        rank.waits_for[i] = view.trace->mesh.rank({event.peer, at.dp, at.tp});
      else if (is_end_of_step(event) && last && last != &rank)
        rank.waits_for[i] = last->rank->rank;
    }
}

}  // namespace

const RankView* StepView::find(int rank) const {
  const auto at = std::ranges::lower_bound(ranks, rank, {}, [](const RankView& view) { return view.rank->rank; });
  return at != ranks.end() && at->rank->rank == rank ? &*at : nullptr;
}

StepView view_step(const Trace& trace, int step) {
  StepView view{.trace = &trace, .step = step, .ranks = {}};
  for (const RankTrace& rank : trace.ranks)
    for (const StepTrace& of : rank.steps) {
      if (of.step != step) continue;
      view.ranks.push_back({.rank = &rank,
                            .step = &of,
                            .times = counted_times(of.events, of.begin_ns, of.end_ns),
                            .waits_for = std::vector<int>(of.events.size(), -1)});
    }
  attribute_collectives(view);
  attribute_messages_and_ends(view);
  return view;
}

std::vector<int> steps_of(const Trace& trace) {
  std::set<int> steps;
  for (const RankTrace& rank : trace.ranks)
    for (const StepTrace& step : rank.steps) steps.insert(step.step);
  return {steps.begin(), steps.end()};
}

int first_of_group(const Mesh& mesh, Coordinate at, Axis axis) {
  (axis == Axis::kPp ? at.pp : axis == Axis::kDp ? at.dp : at.tp) = 0;
  return mesh.rank(at);
}

EventKind kind_of(const RankView& view, const CountedTime& time) {
  return time.event < 0 ? EventKind::kIdle : view.step->events[static_cast<size_t>(time.event)].kind;
}

Axis axis_of(Lane lane) { return lane == Lane::kTp ? Axis::kTp : lane == Lane::kDp ? Axis::kDp : Axis::kPp; }

}  // namespace trine
