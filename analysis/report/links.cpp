#include <algorithm>

#include "analysis/report/analyses.h"
#include "trace/classify.h"

namespace trine {

void LinkAnalysis::add(const StepView& view) {
  ++steps_;
  for (const RankView& rank : view.ranks) {
    ++rank_steps_;
    std::map<LinkReport*, int64_t> covered_until;
    const auto link_of = [&](const TraceEvent& event) -> LinkReport* {
      if (event.lane != Lane::kTp && event.lane != Lane::kPp && event.lane != Lane::kDp) return nullptr;
      if (!is_wire(event.kind) && !is_waiting(event.kind)) return nullptr;
      const NodeLabel* label = view.trace->label(*rank.rank, event);
      const Axis axis = axis_of(event.lane);
      const auto [at, is_new] = links_.try_emplace({axis, label ? label->op : std::string()});
      if (is_new) at->second.axis = axis, at->second.op = at->first.second;
      return &at->second;
    };
    for (const CountedTime& time : rank.times) {
      if (time.event < 0) continue;
      const TraceEvent& event = rank.step->events[static_cast<size_t>(time.event)];
      LinkReport* link = link_of(event);
      if (!link) continue;
      (is_waiting(event.kind) ? link->wait_s : link->exposed_s) += seconds(time);
    }
    std::vector<const TraceEvent*> wires;
    for (const TraceEvent& event : rank.step->events)
      if (is_wire(event.kind) && link_of(event)) wires.push_back(&event);
    std::ranges::stable_sort(wires, {}, [](const TraceEvent* event) { return event->t0_ns; });
    for (const TraceEvent* event : wires) {
      LinkReport* link = link_of(*event);
      link->bytes += static_cast<double>(event->bytes), ++link->count;
      const auto until = covered_until.try_emplace(link, rank.step->begin_ns).first;
      const int64_t begin = std::max(event->t0_ns, until->second), end = std::min(event->t1_ns, rank.step->end_ns);
      const double busy = static_cast<double>(std::max<int64_t>(end - begin, 0)) * 1e-9;
      until->second = std::max(until->second, end);
      link->hidden_s += busy;  // all, until finish()
      const Axis axis = axis_of(event->lane);
      GroupReport& group = groups_[{axis, first_of_group(view.trace->mesh, rank.rank->coordinate, axis)}];
      if (group.ranks.empty()) group.axis = axis, group.ranks = view.trace->mesh.group(rank.rank->coordinate, axis);
      if (event->bytes > 0) {
        group.bytes += static_cast<double>(event->bytes);
        group.wire_s += static_cast<double>(event->t1_ns - event->t0_ns) * 1e-9;
      }
    }
  }
}

void LinkAnalysis::finish(Report& report) const {
  for (const auto& [key, sums] : links_) {
    LinkReport link = sums;
    if (link.hidden_s > 0) link.gb_per_s = link.bytes / link.hidden_s * 1e-9;  // here still all that was busy
    link.hidden_s = std::max(link.hidden_s - link.exposed_s, 0.0);
    for (double* s : {&link.exposed_s, &link.hidden_s, &link.wait_s}) *s /= rank_steps_;
    link.count /= steps_, link.bytes /= steps_;
    report.links.push_back(link);
  }
  std::ranges::stable_sort(report.links, std::greater(),
                           [](const LinkReport& link) { return link.exposed_s + link.wait_s; });
  for (const auto& [key, group] : groups_) report.groups.push_back(group);
}

void WaitAnalysis::add(const StepView& view, const Report& report) {
  ++steps_;
  const size_t n = report.ranks.size();
  if (seconds_.empty()) seconds_.assign(n, std::vector<double>(n));
  for (const RankView& rank : view.ranks)
    for (const CountedTime& time : rank.times) {
      if (time.event < 0) continue;
      const int source = rank.waits_for[static_cast<size_t>(time.event)];
      if (source >= 0 && view.find(source))
        seconds_[report.index(rank.rank->rank)][report.index(source)] += seconds(time);
    }
}

void WaitAnalysis::finish(Report& report) const {
  report.waits = seconds_;
  for (auto& row : report.waits)
    for (double& s : row) s /= steps_;
}

}  // namespace trine
