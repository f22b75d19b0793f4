// What a step asks of one rank, counted from the plan's graph: arithmetic, and bytes that it sends on each axis.
#pragma once

#include <string>
#include <vector>

#include "base/mesh.h"
#include "parallel/schedules/timing.h"
#include "plan/plan.h"

namespace trine {

// All executions in a step of one kind of communication.
struct Traffic {
  Axis axis = Axis::kTp;
  std::string op;          // "all_gather", "send"
  int64_t count = 0;       // executions
  int64_t bytes = 0;       // that the rank sends in all of them; a receive counts at its sender
  int64_t most_bytes = 0;  // in one
};

struct StepWork {
  double flops = 0;
  std::vector<Traffic> traffic;  // by axis (pp, dp, tp), then by bytes, most first

  int64_t bytes_sent(Axis axis) const;
};

// Of the rank with the largest shards. Nodes of the microbatch region count once for each microbatch.
StepWork step_work(const StagePlan& stage, int64_t num_microbatches);

// Parameters of the whole model that live on this pipeline rank. The copy of a tied embedding is the owner's.
int64_t num_parameters(const StagePlan& stage);

// Times of all stages' actions by their FLOPs, recomputation included; the unit is the cheapest stage's forward.
std::vector<ActionTimes> action_times(const Plan& plan);
std::vector<Schedule> schedules(const Plan& plan);  // of all pipeline ranks

}  // namespace trine
