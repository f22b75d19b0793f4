#include "analysis/planner/layout_hint.h"

#include <fmt/format.h>

#include "analysis/planner/planner.h"

namespace trine {
namespace {

constexpr double kWorthSaying = 1.15;

}  // namespace

std::optional<std::string> layout_hint(const Plan& plan_of_run, const Profile& profile, const std::string& cluster,
                                       double within_s) {
  const Config& config = plan_of_run.config;
  const Simulation own = simulate(plan_of_run, profile, {{}, Detail::kAction});
  if (own.oversubscribed || !own.not_measured.empty()) return std::nullopt;
  const PlanQuestion question{
      .base = config, .devices = config.mesh.num_ranks(), .profile = profile, .fixed = {.threads = true}};
  const PlanAnswer answer = plan(question, {.within_s = within_s});
  if (answer.plans.empty() || own.step_s <= kWorthSaying * answer.plans[0].step_s) return std::nullopt;
  const PlannedLayout& best = answer.plans[0];
  return fmt::format(
      "a better layout is predicted: {}, {:.3g} s a step; this one {:.3g} s, {:.0f} % more. plan_llama --model {} "
      "--cluster {} --devices {} --global-batch {} --seq {} says why.",
      to_string(best.layout), best.step_s, own.step_s, 100 * (own.step_s / best.step_s - 1), config.model_name,
      cluster, question.devices, config.global_batch, config.seq);
}

}  // namespace trine
