#include <algorithm>

#include "analysis/report/analyses.h"
#include "trace/classify.h"

namespace trine {
namespace {
constexpr int64_t kShortestForRate_ns = 20'000;  // a rate of less is the clock's
}

void OpAnalysis::add(const StepView& view) {
  ++steps_;
  for (const RankView& rank : view.ranks) {
    ++rank_steps_;
    for (const TraceEvent& event : rank.step->events) {
      const NodeLabel* label = view.trace->label(*rank.rank, event);
      if (!label || event.lane != Lane::kCompute || is_wire(event.kind) || is_waiting(event.kind)) continue;
      const int64_t ns = event.t1_ns - event.t0_ns;
      OpReport& op = ops_[label->op];
      ++op.count, ++num_;
      op.s += static_cast<double>(ns) * 1e-9, op.flops += event.flops, op.bytes += static_cast<double>(event.bytes);
      if (event.kind == EventKind::kCompute && durations_ns_.size() < 1'000'000) durations_ns_.push_back(ns);
      if (ns < kShortestForRate_ns) continue;
      best_flops_per_s_ = std::max(best_flops_per_s_, event.flops / (static_cast<double>(ns) * 1e-9));
      best_bytes_per_s_ =
          std::max(best_bytes_per_s_, static_cast<double>(event.bytes) / (static_cast<double>(ns) * 1e-9));
    }
  }
}

void OpAnalysis::finish(Report& report) const {
  for (const auto& [op, sums] : ops_) {
    OpReport one = sums;
    one.op = op;
    const double at_best = std::max(best_flops_per_s_ > 0 ? one.flops / best_flops_per_s_ : 0,
                                    best_bytes_per_s_ > 0 ? one.bytes / best_bytes_per_s_ : 0);
    one.roof_share = one.s > 0 ? std::min(at_best / one.s, 1.0) : 0;
    one.count /= steps_, one.flops /= steps_, one.bytes /= steps_, one.s /= rank_steps_;
    report.ops.push_back(one);
  }
  std::ranges::stable_sort(report.ops, std::greater(), &OpReport::s);
  std::vector<int64_t> durations = durations_ns_;
  if (durations.empty()) return;
  const auto middle = durations.begin() + std::ssize(durations) / 2;
  std::ranges::nth_element(durations, middle);
  report.median_op_s = static_cast<double>(*middle) * 1e-9;
  report.num_ops = num_ / rank_steps_;
}

}  // namespace trine
