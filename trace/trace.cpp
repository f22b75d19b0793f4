#include "trace/trace.h"

#include <fmt/core.h>

namespace trine {

const NodeLabel* Trace::label(const RankTrace& rank, const TraceEvent& event) const {
  const auto stage = static_cast<size_t>(rank.coordinate.pp), node = static_cast<size_t>(event.node);
  return event.node >= 0 && stage < nodes.size() && node < nodes[stage].size() ? &nodes[stage][node] : nullptr;
}

void shift(StepTrace& step, int64_t by_ns) {
  step.begin_ns += by_ns, step.end_ns += by_ns;
  for (TraceEvent& event : step.events) event.t0_ns += by_ns, event.t1_ns += by_ns;
  for (MemorySample& sample : step.memory) sample.time_ns += by_ns;
}

StepBreakdown account(const StepTrace& step) { return account(step.events, step.begin_ns, step.end_ns); }

std::string rank_name(int rank) { return fmt::format("rank-{:04}", rank); }

}  // namespace trine
