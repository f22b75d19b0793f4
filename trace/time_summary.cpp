#include "trace/time_summary.h"

#include <algorithm>
#include <fmt/core.h>
#include <vector>

namespace trine {
namespace {

std::string_view label(EventKind kind) {
  switch (kind) {
    case EventKind::kCommTp:
      return "tp, exposed";
    case EventKind::kCommPp:
      return "pp, exposed";
    case EventKind::kCommDp:
      return "dp, exposed";
    case EventKind::kWait:
      return "wait for peers";
    case EventKind::kBubble:
      return "pipeline bubble";
    default:
      return name(kind);
  }
}

}  // namespace

void TimeSummary::add(const StepBreakdown& step) {
  if (num_steps_++ == 0) {
    first_ = step;
    return;
  }
  for (size_t k = 0; k < sum_.seconds.size(); ++k) sum_.seconds[k] += step.seconds[k];
  for (size_t a = 0; a < sum_.hidden_comm_s.size(); ++a) sum_.hidden_comm_s[a] += step.hidden_comm_s[a];
  sum_.step_s += step.step_s;
}

std::string TimeSummary::text() const {
  if (num_steps_ == 0) return "";
  const StepBreakdown& total = num_steps_ == 1 ? first_ : sum_;
  const int64_t steps = std::max<int64_t>(1, num_steps_ - 1);
  const double per_step = 1.0 / static_cast<double>(steps);
  std::vector<EventKind> kinds;
  for (int k = 0; k < kNumEventKinds; ++k)
    if (total.seconds[static_cast<size_t>(k)] >= 0.0005 * total.step_s) kinds.push_back(static_cast<EventKind>(k));
  std::stable_sort(kinds.begin(), kinds.end(), [&](EventKind a, EventKind b) { return total[a] > total[b]; });

  std::string text = fmt::format("where the time of a step went (mean of {} step{}{})", steps,
                                 steps == 1 ? "" : "s", num_steps_ > 1 ? " after the first" : "");
  for (const EventKind kind : kinds) {
    const double share = total[kind] / total.step_s;
    std::string line = fmt::format("  {:<16} {:>8.4f} s {:>5.1f} %  {:<20}", label(kind), total[kind] * per_step,
                                   share * 100, std::string(static_cast<size_t>(share * 20 + 0.5), '#'));
    for (Axis axis : kAxes)
      if (kCommKinds[static_cast<size_t>(axis)] == kind)
        line += fmt::format("  {:.4f} s more was hidden", total.hidden(axis) * per_step);
    text += "\n" + line.substr(0, line.find_last_not_of(' ') + 1);
  }
  return text;
}

}  // namespace trine
