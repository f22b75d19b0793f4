// Proves the schedules of all ranks before anything starts.
#pragma once

#include <vector>

#include "parallel/schedules/execute.h"
#include "parallel/schedules/schedule.h"

namespace trine {

// Complete: each stage is on one rank, which runs F and then B, or I and then W, once for each microbatch.
// In order: each stage accumulates gradients (B or W) in increasing order of microbatches, so that sums do not
// depend on the schedule. Free of deadlock: it executes to the end (execute.h), under the waits that the memory
// plan adds. ConfigError with all problems of the first two kinds at once, else with the one of the third.
void check_schedules(const std::vector<Schedule>& schedules, int num_stages, int num_microbatches,
                     const ExecuteOptions& options = {});

// The most microbatches, of all chunks together, that a rank keeps from F to B (or W).
int max_in_flight(const Schedule& schedule);

}  // namespace trine
