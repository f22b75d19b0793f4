// The plan: all that is decided before a step runs. Immutable; the executor runs it, the simulator walks it, the
// planner compares many. Start reading at build_plan() in plan.cpp.
#pragma once

#include <functional>
#include <optional>
#include <ostream>
#include <vector>

#include "graph/graph.h"
#include "graph/pass.h"
#include "parallel/schedules/schedule.h"
#include "parallel/stages.h"
#include "plan/config/config.h"
#include "plan/memory_plan.h"
#include "plan/step_program.h"

namespace trine {

// What one pipeline rank runs. All ranks of the same pp coordinate share it.
struct StagePlan {
  std::vector<Stage> chunks;  // the pipeline stages that it holds
  Graph graph;
  Schedule schedule;
  MemoryPlan memory;
  ValueId logits;  // of the last stage, else invalid
  ValueId loss;
  std::vector<PassTiming> passes;
};

struct Plan {
  Config config;
  std::vector<StagePlan> stages;
  std::vector<std::string> warnings;  // what would be an error if it were not only looked at
};

// The pipeline stages of the model as --stage-split wants them. REQUIRES: as many layers at least.
std::vector<Stage> stages_of(const Config& config, int num_stages);

// What a rank of this stage does in a step.
inline StepProgram step_program(const StagePlan& stage, StepMode mode, bool device_to_device) {
  return {stage.graph, stage.schedule, mode, device_to_device, &stage.memory};
}
// Whether messages of a run go from device to device, if its GPUs have the library for it.
bool may_talk_on_device(const Config& config);

// REQUIRES: a validated configuration. `dump` is where --dump-pass prints.
Plan build_plan(const Config& config, std::ostream* dump = nullptr);
// A plan to simulate beside hundreds of others: the same nodes, schedule and memory, several times as fast. Pipeline
// ranks with as many layers have the graph of the first of them, the names of its layers too; graphs are not
// verified, and the only program that is checked is that of training through the host.
Plan build_plan_to_compare(const Config& config);
// The same if the bytes of the largest rank may be so many; nullopt as soon as one needs more.
std::optional<Plan> build_plan_to_compare(const Config& config, const std::function<bool(int64_t)>& may_need);

}  // namespace trine
