#include <algorithm>

#include "analysis/report/analyses.h"
#include "trace/classify.h"

namespace trine {

std::string_view path_name(EventKind kind) {
  switch (kind) {
    case EventKind::kCompute:
      return "kernels";
    case EventKind::kCommTp:
      return "tp";
    case EventKind::kCommPp:
      return "pp";
    case EventKind::kCommDp:
      return "dp";
    default:
      return name(kind);
  }
}

void PathAnalysis::add(const StepView& view) {
  if (view.ranks.empty()) return;
  ++steps_;
  const RankView* at = &*std::ranges::max_element(view.ranks, {}, [](const RankView& r) { return r.step->end_ns; });
  int64_t now = at->step->end_ns;
  size_t jumps = 0;  // since time last went back: more than ranks would be a circle
  while (now > at->step->begin_ns) {
    auto time = std::ranges::lower_bound(at->times, now, {}, &CountedTime::t0_ns);
    if (time == at->times.begin()) break;
    --time;  // the last that begins before now
    const EventKind kind = kind_of(*at, *time);
    if (is_waiting(kind) && jumps < view.ranks.size()) {
      const int source = at->waits_for[static_cast<size_t>(time->event)];
      if (const RankView* other = source >= 0 ? view.find(source) : nullptr; other && other != at) {
        at = other, ++jumps;
        now = std::min(now, at->step->end_ns);
        continue;
      }
    }
    const TraceEvent* event = time->event < 0 ? nullptr : &at->step->events[static_cast<size_t>(time->event)];
    const NodeLabel* label = event ? view.trace->label(*at->rank, *event) : nullptr;
    parts_[{kind, at->rank->coordinate.pp, label ? label->op : std::string()}] +=
        static_cast<double>(now - time->t0_ns) * 1e-9;
    now = time->t0_ns, jumps = 0;
  }
}

void PathAnalysis::finish(Report& report) const {
  for (const auto& [key, s] : parts_)
    report.critical_path.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), s / steps_});
  std::ranges::stable_sort(report.critical_path, std::greater(), &PathPart::s);
}

}  // namespace trine
