#include "parallel/schedules/timing.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/error.h"

namespace trine {
namespace {

class Clock {
 public:
  Clock(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times)
      : schedules_(schedules), times_(times), num_stages_(count_stages(schedules)), next_(schedules.size()) {
    TRINE_CHECK(static_cast<int>(times.size()) == num_stages_, "{} times for {} stages", times.size(), num_stages_);
    for (const Schedule& schedule : schedules) result_.spans.emplace_back(schedule.size());
  }

  Timing run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t rank = 0; rank < schedules_.size(); ++rank)
        while (advance(rank)) moved = true;
    }
    for (size_t rank = 0; rank < schedules_.size(); ++rank)
      TRINE_CHECK(next_[rank] == schedules_[rank].size(), "rank {} never runs {}", rank,
                  to_string(schedules_[rank][next_[rank]]));
    return std::move(result_);
  }

 private:
  // When an action of one of these kinds ended, if one has.
  std::optional<double> end_of(int stage, std::initializer_list<ActionKind> kinds, int microbatch) const {
    for (const ActionKind kind : kinds) {
      const auto found = ends_.find({stage, kind, microbatch});
      if (found != ends_.end()) return found->second;
    }
    return std::nullopt;
  }

  // When what an action needs has been made; nullopt: not yet.
  std::optional<double> inputs_of(const Action& a) const {
    using enum ActionKind;
    if (a.kind == kForward) return a.stage == 0 ? 0 : end_of(a.stage - 1, {kForward}, a.microbatch);
    if (a.kind == kWeightGrad) return end_of(a.stage, {kInputGrad}, a.microbatch);
    const auto kept = end_of(a.stage, {kForward}, a.microbatch);
    if (!kept || a.stage + 1 == num_stages_) return kept;
    const auto gradient = end_of(a.stage + 1, {kBackward, kInputGrad}, a.microbatch);
    return gradient ? std::optional(std::max(*kept, *gradient)) : std::nullopt;
  }

  bool advance(size_t rank) {
    const size_t i = next_[rank];
    if (i == schedules_[rank].size()) return false;
    const Action& action = schedules_[rank][i];
    const std::optional<double> ready = inputs_of(action);
    if (!ready) return false;
    const double start = std::max(*ready, i == 0 ? 0 : result_.spans[rank][i - 1].end);
    const double end = start + times_[static_cast<size_t>(action.stage)].of(action.kind);
    result_.spans[rank][i] = {start, end};
    result_.end = std::max(result_.end, end);
    ends_[{action.stage, action.kind, action.microbatch}] = end;
    ++next_[rank];
    return true;
  }

  const std::vector<Schedule>& schedules_;
  const std::vector<ActionTimes>& times_;
  const int num_stages_;
  std::vector<size_t> next_;  // by rank
  std::map<std::tuple<int, ActionKind, int>, double> ends_;
  Timing result_;
};

}  // namespace

double ActionTimes::of(ActionKind kind) const {
  switch (kind) {
    case ActionKind::kForward:
      return forward;
    case ActionKind::kInputGrad:
      return input_grad;
    case ActionKind::kWeightGrad:
      return weight_grad;
    case ActionKind::kBackward:
      return input_grad + weight_grad;
  }
  TRINE_CHECK(false, "unknown kind of action");
}

Timing time_schedules(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times) {
  return Clock(schedules, times).run();
}

int count_stages(const std::vector<Schedule>& schedules) {
  int last = -1;
  for (const Schedule& schedule : schedules)
    for (const Action& action : schedule) last = std::max(last, action.stage);
  return last + 1;
}

double bubble_fraction(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times) {
  const Timing timing = time_schedules(schedules, times);
  double busy = 0;
  for (const auto& spans : timing.spans)
    for (const Span& span : spans) busy += span.end - span.start;
  return timing.end > 0 ? 1 - busy / (timing.end * static_cast<double>(schedules.size())) : 0;
}

}  // namespace trine
