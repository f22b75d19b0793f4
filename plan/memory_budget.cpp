#include "plan/memory_budget.h"

#include <algorithm>

#include "base/shape.h"
#include "base/text.h"
#include "plan/flag_values.h"

namespace trine {
namespace {

using Kind = Recompute::Kind;

// The stage that needs most.
size_t largest_stage(const Plan& plan) {
  const auto bytes = [](const StagePlan& stage) { return stage.memory.total_bytes(); };
  const auto by_bytes = [&](const StagePlan& a, const StagePlan& b) { return bytes(a) < bytes(b); };
  return static_cast<size_t>(std::max_element(plan.stages.begin(), plan.stages.end(), by_bytes) -
                             plan.stages.begin());
}

int64_t bytes_needed(const Plan& plan) { return plan.stages[largest_stage(plan)].memory.total_bytes(); }

OutOfMemoryError does_not_fit(const Plan& plan, bool least_of_all) {
  const size_t stage = largest_stage(plan);
  return OutOfMemoryError(fmt::format(
      "[memory] --memory-budget is {}, but a rank of stage {} needs {} with --recompute {}{}:\n{}{}Raise the "
      "budget, "
      "or lower --micro-batch or --seq.",
      format_bytes(plan.config.memory_budget->count), stage, format_bytes(bytes_needed(plan)),
      ValueText<Recompute>::print(plan.config.recompute), least_of_all ? ", the least of all policies" : "",
      print(plan.stages[stage].memory), least_of_all ? "" : "Take --recompute auto. "));
}

Plan build_cheapest(const Config& config, const std::function<Plan(const Config&)>& build) {
  Config trial = config;
  trial.dump_passes.clear();
  std::optional<Plan> smallest;
  for (const Recompute& candidate : recompute_candidates(config)) {
    trial.recompute = candidate;
    Plan plan = build(trial);
    if (!smallest || bytes_needed(plan) < bytes_needed(*smallest)) smallest = std::move(plan);
    if (bytes_needed(*smallest) <= config.memory_budget->count) break;
  }
  if (bytes_needed(*smallest) > config.memory_budget->count) throw does_not_fit(*smallest, true);
  if (config.dump_passes.empty()) return std::move(*smallest);
  trial.recompute = smallest->config.recompute;
  trial.dump_passes = config.dump_passes;
  return build(trial);
}

}  // namespace

std::vector<Recompute> recompute_candidates(const Config& config) {
  std::vector<Recompute> candidates = {{Kind::kNone}, {Kind::kSelective}};
  const int64_t layers = config.model.layers;
  for (int64_t size = div_up(layers, int64_t{config.mesh.pp} * config.vpp); size > 1; --size)
    if (layers % size == 0) candidates.push_back({Kind::kGroup, size});
  candidates.push_back({Kind::kFull});
  return candidates;
}

Plan build_within_budget(const Config& config, const std::function<Plan(const Config&)>& build) {
  if (config.recompute.kind == Kind::kAuto) {
    if (!config.memory_budget)
      throw ConfigError("[memory] --recompute auto needs to know how much there is. Add --memory-budget BYTES.");
    return build_cheapest(config, build);
  }
  Plan plan = build(config);
  if (config.memory_budget && bytes_needed(plan) > config.memory_budget->count) throw does_not_fit(plan, false);
  return plan;
}

}  // namespace trine
