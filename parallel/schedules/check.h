// Proves that the schedules of all ranks are complete, before anything is planned.
#pragma once

#include <vector>

#include "parallel/schedules/schedule.h"

namespace trine {

// Complete: each stage is on one rank, which runs F and then B, or I and then W, once for each microbatch.
// In order: each stage accumulates gradients (B or W) in increasing order of microbatches, so that sums do not
// depend on the schedule. ConfigError with all problems at once. That no rank waits for ever, the programs of all
// ranks prove (plan/program_check.h).
void check_schedules(const std::vector<Schedule>& schedules, int num_stages, int num_microbatches);

// The most microbatches, of all chunks together, that a rank keeps from F to B (or W).
int max_in_flight(const Schedule& schedule);

}  // namespace trine
