#include "analysis/explain.h"

#include <algorithm>
#include <array>
#include <utility>

namespace trine {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kParts = {{
    {"peak", "arithmetic at the devices' peak"},
    {"kernels", "kernels below that peak"},
    {"recompute", "recomputation"},
    {"tp", "tp communication, exposed"},
    {"pp", "pp communication, exposed"},
    {"bubble", "pipeline bubble"},
    {"dp", "dp communication, exposed"},
    {"wait", "waiting for a late rank"},
    {"optimizer", "optimizer"},
    {"data", "data"},
    {"host", "host"},
    {"checkpoint", "checkpoint"},
    {"idle", "idle: nothing was launched"},
}};

}  // namespace

std::vector<ExplainedPart> explain(const StepBreakdown& mean, double peak_s) {
  const double compute_s = mean[EventKind::kCompute], at_peak_s = std::min(peak_s, compute_s);
  const std::array<double, kParts.size()> seconds = {at_peak_s,
                                                     compute_s - at_peak_s,
                                                     mean[EventKind::kRecompute],
                                                     mean[EventKind::kCommTp],
                                                     mean[EventKind::kCommPp],
                                                     mean[EventKind::kBubble],
                                                     mean[EventKind::kCommDp],
                                                     mean[EventKind::kWait],
                                                     mean[EventKind::kOptimizer],
                                                     mean[EventKind::kData],
                                                     mean[EventKind::kHost],
                                                     mean[EventKind::kCheckpoint],
                                                     mean[EventKind::kIdle]};
  std::vector<ExplainedPart> parts;
  for (size_t i = 0; i < kParts.size(); ++i)
    if (seconds[i] > 0) parts.push_back({std::string(kParts[i].first), seconds[i]});
  return parts;
}

std::string_view part_text(std::string_view part) {
  const auto found = std::ranges::find(kParts, part, &std::pair<std::string_view, std::string_view>::first);
  return found == kParts.end() ? part : found->second;
}

}  // namespace trine
