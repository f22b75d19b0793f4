#include "analysis/simulator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "analysis/simulated_pipeline.h"
#include "analysis/simulated_rank.h"
#include "base/error.h"
#include "models/llama.h"

namespace trine {
namespace {

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

// Ranks that outnumber the cores: at best these are busy all the time. A lane that waits for emulated links sleeps.
void stretch(SimulatedPipeline& pipeline, Simulation& result) {
  double busy_s = result.mean[EventKind::kCompute] + result.mean[EventKind::kRecompute] +
                  result.mean[EventKind::kOptimizer] + result.mean[EventKind::kHost];
  if (!pipeline.emulates()) busy_s += result.mean[EventKind::kCommTp] + result.mean[EventKind::kCommDp];
  const double threads = static_cast<double>(pipeline.costs().cpu().ranks_a_host) * pipeline.plan().config.threads;
  const double factor = std::max(1.0, busy_s * threads / pipeline.profile().cpu.cores / result.step_s);
  const auto longer = [&](int64_t& time_ns) { time_ns = std::llround(static_cast<double>(time_ns) * factor); };
  for (RankTrace& rank : result.trace.ranks)
    for (StepTrace& step : rank.steps) {
      longer(step.end_ns);
      for (TraceEvent& event : step.events) longer(event.t0_ns), longer(event.t1_ns);
    }
  result.step_s *= factor, result.mean.step_s *= factor;
  for (double& seconds : result.mean.seconds) seconds *= factor;
  for (double& seconds : result.mean.hidden_comm_s) seconds *= factor;
}

Simulation run(SimulatedPipeline& pipeline) {
  const Plan& plan = pipeline.plan();
  std::vector<RankSimulation> ranks;
  ranks.reserve(plan.stages.size());
  for (size_t pp = 0; pp < plan.stages.size(); ++pp)
    ranks.emplace_back(pipeline, plan.stages[pp], static_cast<int>(pp));
  // All go on as far as they can; then the links do, to what happens next on them. A round in which nothing moves is a
  // fault of the plan.
  const auto run_awake = [&] {
    bool moved = false;
    for (int pp = pipeline.take_awake(); pp >= 0; pp = pipeline.take_awake()) {
      RankSimulation& rank = ranks[static_cast<size_t>(pp)];
      const int64_t before = rank.progress();
      rank.run();
      moved |= rank.progress() > before;
    }
    return moved;
  };
  for (run_awake(); !std::ranges::all_of(ranks, &RankSimulation::done); run_awake()) {
    if (pipeline.advance()) continue;
    pipeline.wake_all();
    TRINE_CHECK(run_awake(), "the pipeline's ranks wait for each other, the first in {}", ranks[0].where());
  }
  Simulation result;
  if (pipeline.is_cpu()) {
    result.not_measured = pipeline.costs().not_measured();
    result.oversubscribed = pipeline.costs().cpu().oversubscribed;
  }
  for (const RankSimulation& rank : ranks) result.step_s = std::max(result.step_s, rank.end());
  if (pipeline.wants_step_only()) return result;
  result.trace.mesh = plan.config.mesh;
  result.trace.backend = "model";
  for (size_t pp = 0; pp < ranks.size(); ++pp) {
    ranks[pp].finish(result.step_s);
    result.trace.nodes.push_back(node_labels(plan.stages[pp].graph));
    result.trace.ranks.push_back(ranks[pp].take_trace());
    StepTrace& step = result.trace.ranks.back().steps[0];
    step.end_ns = nanoseconds(result.step_s);
    const StepBreakdown own = account(step);
    const double share = 1.0 / static_cast<double>(ranks.size());
    for (size_t k = 0; k < own.seconds.size(); ++k) result.mean.seconds[k] += own.seconds[k] * share;
    for (size_t a = 0; a < own.hidden_comm_s.size(); ++a)
      result.mean.hidden_comm_s[a] += own.hidden_comm_s[a] * share;
  }
  for (const double seconds : result.mean.seconds) result.mean.step_s += seconds;
  if (result.oversubscribed) stretch(pipeline, result);
  return result;
}

}  // namespace

Simulation simulate(const Plan& plan, const Profile& profile, const SimulationOptions& options) {
  SimulatedPipeline pipeline(plan, profile, options);
  return run(pipeline);
}

PredictionCertainty certainty_of(const Profile& profile) {
  constexpr std::array<std::string_view, 4> kPublished = {"RTX 4090", "A100 SXM", "A100 PCIe", "H100 SXM"};
  const bool changed = std::ranges::any_of(
      profile.sources, [](const auto& source) { return source.second.certainty == Certainty::kGiven; });
  const bool published = !changed && std::ranges::count(kPublished, profile.device.name) > 0;
  return published ? PredictionCertainty{"published", 0.95, 1.1} : PredictionCertainty{"unseen", 0.75, 1.4};
}

PredictionCertainty certainty_of(const Profile& profile, const Simulation& simulation) {
  if (!profile.is_cpu()) return certainty_of(profile);
  const bool changed = std::ranges::any_of(
      profile.sources, [](const auto& source) { return source.second.certainty == Certainty::kGiven; });
  if (simulation.oversubscribed) return {"oversubscribed", 0.8, 1.25};
  if (!simulation.not_measured.empty() || changed) return {"unseen", 0.75, 1.4};
  return {"calibrated", 0.92, 1.09};
}

double mfu(const Config& config, const Profile& profile, double step_s) {
  return model_flops_per_token(config.model, config.seq) * static_cast<double>(config.tokens_per_step()) /
         (step_s * profile.peak_flops(config.dtype, config.mesh.num_ranks(), config.threads));
}

}  // namespace trine
