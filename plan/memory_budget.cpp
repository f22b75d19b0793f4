#include "plan/memory_budget.h"

#include <algorithm>

#include "base/shape.h"
#include "base/text.h"
#include "plan/config/flag_values.h"

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

// What to do about a plan that exceeds the budget. `table`: that of the largest rank, or nothing.
std::string does_not_fit(const Plan& plan, bool least_of_all, const std::string& table) {
  return fmt::format(
      "[memory] --memory-budget is {}, but a rank of stage {} needs {} with --recompute {}{}{}{}Raise the budget, "
      "lower --micro-batch or --seq, or split the model over more ranks (--tp, --pp).",
      format_bytes(plan.config.memory_budget->count), largest_stage(plan), format_bytes(bytes_needed(plan)),
      ValueText<Recompute>::print(plan.config.recompute), least_of_all ? ", the least of all policies" : "",
      table.empty() ? ". " : ":\n" + table, least_of_all ? "" : "Take --recompute auto. ");
}

// OutOfMemoryError, or a warning for who only looks.
Plan within_budget(Plan plan, bool least_of_all) {
  if (!plan.config.memory_budget || bytes_needed(plan) <= plan.config.memory_budget->count) return plan;
  if (!plan.config.looks_only())
    throw OutOfMemoryError(does_not_fit(plan, least_of_all, print(plan.stages[largest_stage(plan)].memory)));
  plan.warnings.push_back(does_not_fit(plan, least_of_all, ""));
  return plan;
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
  if (!config.dump_passes.empty()) {
    trial.recompute = smallest->config.recompute;
    trial.dump_passes = config.dump_passes;
    smallest = build(trial);
  }
  return within_budget(std::move(*smallest), true);
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
  return within_budget(build(config), false);
}

}  // namespace trine
