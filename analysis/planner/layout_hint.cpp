#include "analysis/planner/layout_hint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <tuple>

#include "analysis/planner/planner.h"
#include "models/presets.h"
#include "plan/config/flag_values.h"

namespace trine {
namespace {

constexpr double kWorthSaying = 1.15;

}  // namespace

std::string planner_command(const Config& config, const std::string& cluster) {
  std::vector<std::string> fixed;
  if (const Preset* preset = find_preset(config.model_name)) {
    const LlamaConfig &own = config.model, &usual = preset->model;
    for (const auto& [flag, value, known] : {std::tuple{"layers", own.layers, usual.layers},
                                             {"hidden", own.hidden, usual.hidden},
                                             {"heads", own.heads, usual.heads},
                                             {"kv-heads", own.kv_heads, usual.kv_heads},
                                             {"head-dim", own.head_dim, usual.head_dim},
                                             {"ffn", own.ffn, usual.ffn},
                                             {"vocab", own.vocab, usual.vocab}})
      if (value != known) fixed.push_back(fmt::format("{}={}", flag, value));
    if (own.tie_embeddings != usual.tie_embeddings)
      fixed.push_back(fmt::format("tie-embeddings={}", own.tie_embeddings ? "on" : "off"));
  }
  if (config.dtype != Config().dtype)
    fixed.push_back(fmt::format("dtype={}", ValueText<DType>::print(config.dtype)));
  std::string text =
      fmt::format("plan_llama --model {} --cluster {} --devices {} --global-batch {} --seq {}", config.model_name,
                  cluster, config.mesh.num_ranks(), config.global_batch, config.seq);
  if (!fixed.empty()) text += fmt::format(" --fix {}", fmt::join(fixed, ","));
  for (const std::string& change : config.cluster_changes) text += fmt::format(" --set {}", change);
  return text;
}

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
      "a better layout is predicted: {}, {:.3g} s a step; this one {:.3g} s, {:.0f} % more. {} says why.",
      to_string(best.layout), best.step_s, own.step_s, 100 * (own.step_s / best.step_s - 1),
      planner_command(config, cluster));
}

}  // namespace trine
