// When each action of all ranks' schedules begins and ends, from times of actions alone: a rank runs its actions in
// order, each as soon as what it needs has been made, and messages take no time. What waits, slots and links add is
// not in it: plan/program_check.h and the simulator have that.
#pragma once

#include <vector>

#include "parallel/schedules/schedule.h"

namespace trine {

// How long a stage's actions take for one microbatch, in any one unit. B takes both gradients' time.
struct ActionTimes {
  double forward = 1, input_grad = 1, weight_grad = 1;
  double of(ActionKind kind) const;
};

struct Span {
  double start = 0, end = 0;
};
struct Timing {
  std::vector<std::vector<Span>> spans;  // by rank, and by position in its schedule
  double end = 0;
};

// `times`: by stage. REQUIRES: schedules that come to their end.
Timing time_schedules(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times);

int count_stages(const std::vector<Schedule>& schedules);  // the highest + 1
// The share of the ranks' time, from the first start to the last end, in which they do nothing.
double bubble_fraction(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times);

}  // namespace trine
