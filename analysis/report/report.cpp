#include "analysis/report/report.h"

#include <algorithm>

#include "analysis/report/analyses.h"
#include "base/error.h"
#include "trace/classify.h"

namespace trine {
namespace {

void add(StepBreakdown& sum, const StepBreakdown& one, double share) {
  sum.step_s += one.step_s * share;
  for (size_t k = 0; k < sum.seconds.size(); ++k) sum.seconds[k] += one.seconds[k] * share;
  for (size_t a = 0; a < sum.hidden_comm_s.size(); ++a) sum.hidden_comm_s[a] += one.hidden_comm_s[a] * share;
}

std::vector<StepReport> account_steps(const Trace& trace) {
  std::vector<StepReport> steps;
  for (const int number : steps_of(trace)) {
    StepReport& step = steps.emplace_back();
    step.step = number;
    for (const RankTrace& rank : trace.ranks)
      for (const StepTrace& of : rank.steps)
        if (of.step == number) step.ranks.emplace_back(rank.rank, account(of));
    for (const auto& [rank, time] : step.ranks) add(step.mean, time, 1 / static_cast<double>(step.ranks.size()));
  }
  return steps;
}

// The category that grew most from `usual` to `now`, of those a rank has to answer for itself, or of all.
EventKind grown(const StepBreakdown& now, const StepBreakdown& usual, bool own) {
  size_t most = static_cast<size_t>(EventKind::kIdle);
  for (size_t k = 0; k < now.seconds.size(); ++k) {
    const auto kind = static_cast<EventKind>(k);
    if (own && (is_wire(kind) || is_waiting(kind))) continue;
    if (now.seconds[k] - usual.seconds[k] > now.seconds[most] - usual.seconds[most]) most = k;
  }
  return static_cast<EventKind>(most);
}

}  // namespace

double own_s(const StepBreakdown& time) {
  double s = 0;
  for (size_t k = 0; k < time.seconds.size(); ++k)
    if (const auto kind = static_cast<EventKind>(k); !is_wire(kind) && !is_waiting(kind)) s += time.seconds[k];
  return s;
}

std::vector<OddStep> odd_steps(const Report& report) {
  constexpr double kOdd = 0.3;  // longer than the typical step by this share
  std::vector<OddStep> odd;
  if (report.steps.size() < 3) return odd;
  const auto typical = std::ranges::find(report.steps, report.typical_step, &StepReport::step);
  for (const StepReport& step : report.steps) {
    const double late_s = step.mean.step_s - typical->mean.step_s;
    if (late_s < kOdd * typical->mean.step_s) continue;
    OddStep& one = odd.emplace_back(OddStep{step.step, late_s, grown(step.mean, typical->mean, false), -1});
    // Does one rank's own time explain it?
    double most = 0, sum = 0;
    for (const auto& [rank, time] : step.ranks) {
      const auto usual = std::ranges::find(typical->ranks, rank, &std::pair<int, StepBreakdown>::first);
      if (usual == typical->ranks.end()) continue;
      const double grew = own_s(time) - own_s(usual->second);
      sum += std::max(grew, 0.0);
      if (grew <= most) continue;
      most = grew, one.rank = rank;
      one.cause = grown(time, usual->second, true);
    }
    if (most < 0.5 * late_s || most < 0.6 * sum || step.ranks.size() < 2) {
      one.rank = -1;
      one.cause = grown(step.mean, typical->mean, most >= 0.5 * late_s);
    }
  }
  std::ranges::stable_sort(odd, std::greater(), &OddStep::late_s);
  return odd;
}

std::vector<MemoryReport> memory_of(const Trace& trace) {
  std::vector<MemoryReport> memory;
  for (const RankTrace& rank : trace.ranks) {
    MemoryReport& of = memory.emplace_back(MemoryReport{rank.rank});
    for (const StepTrace& step : rank.steps)
      for (const MemorySample& sample : step.memory) {
        int64_t& most = sample.kind == MemorySample::Kind::kArena ? of.arena_bytes : of.resident_bytes;
        most = std::max(most, sample.bytes);
      }
  }
  return memory;
}

size_t Report::index(int rank) const {
  return static_cast<size_t>(std::ranges::lower_bound(ranks, rank) - ranks.begin());
}

const std::string& Report::host(int rank) const {
  static const std::string kNone;
  const size_t at = index(rank);
  return at < ranks.size() && ranks[at] == rank ? hosts[at] : kNone;
}

Report analyse(const Trace& trace) {
  Report report;
  report.mesh = trace.mesh, report.backend = trace.backend, report.modelled = trace.modelled;
  for (const RankTrace& rank : trace.ranks) {
    report.ranks.push_back(rank.rank), report.hosts.push_back(rank.host);
    if (!rank.device.empty() && !rank.device.starts_with("cpu")) report.cpu = false;
  }
  report.steps = account_steps(trace);
  TRINE_CHECK(!report.steps.empty(), "a trace without steps");
  for (const StepReport& step : report.steps)
    add(report.mean, step.mean, 1 / static_cast<double>(report.steps.size()));
  std::vector<std::pair<double, int>> lengths;
  for (const StepReport& step : report.steps) lengths.emplace_back(step.mean.step_s, step.step);
  std::ranges::sort(lengths);
  report.typical_step = lengths[(lengths.size() - 1) / 2].second;

  LinkAnalysis links;
  WaitAnalysis waits;
  StragglerAnalysis stragglers;
  PathAnalysis path;
  OpAnalysis ops;
  PipelineAnalysis pipeline;
  for (const StepReport& step : report.steps) {
    const StepView view = view_step(trace, step.step);
    links.add(view), waits.add(view, report), stragglers.add(view), path.add(view), ops.add(view);
    pipeline.add(view, step.step == report.typical_step);
  }
  links.finish(report), waits.finish(report), stragglers.finish(report), path.finish(report), ops.finish(report);
  pipeline.finish(report);
  report.odd_steps = odd_steps(report);
  report.memory = memory_of(trace);
  report.findings = findings_of(report);
  report.explained = explain(report.mean, 0);
  return report;
}

void add_explanation(Report& report, Explanation explanation) {
  report.explained = explain(report.mean, explanation.peak_s);
  report.explanation = std::move(explanation);
}

}  // namespace trine
