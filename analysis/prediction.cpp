#include "analysis/prediction.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fmt/format.h>

#include "analysis/simulated_costs.h"
#include "base/error.h"
#include "base/file_system.h"
#include "base/output_file.h"
#include "plan/config/flags.h"
#include "trace/trace_writer.h"

namespace trine {
namespace {

// Of more, one rank stands for each pipeline rank.
constexpr int kMostTracedRanks = 256;

}  // namespace

std::map<int, double> slow_ranks_of(const Config& config) {
  std::map<int, double> slow;
  Problems problems;
  for (const std::string& text : config.slow_ranks) {
    const size_t colon = text.find(':');
    int rank = -1;
    double factor = 0;
    const char *const begin = text.data(), *const end = begin + text.size();
    const bool right = colon != text.npos && std::from_chars(begin, begin + colon, rank).ptr == begin + colon &&
                       std::from_chars(begin + colon + 1, end, factor).ptr == end && colon > 0 &&
                       colon + 1 < text.size();
    if (!right)
      problems.add("flags", "--slow got '{}' and needs RANK:FACTOR, such as 3:1.5.", text);
    else if (rank < 0 || rank >= config.mesh.num_ranks())
      problems.add("flags", "--slow names rank {}; there are ranks 0 to {}.", rank, config.mesh.num_ranks() - 1);
    else if (!(factor >= 1 && factor <= 1e6))
      problems.add("flags", "--slow {}: a factor is 1 or more.", text);
    else
      slow[rank] = factor;
  }
  problems.throw_if_any();
  return slow;
}

int64_t largest_plan_bytes(const Plan& plan) {
  int64_t most = 0;
  for (const StagePlan& stage : plan.stages) most = std::max(most, stage.memory.total_bytes());
  return most;
}

bool fits(const Plan& plan, const Profile& profile) { return fits(largest_plan_bytes(plan), plan.config, profile); }

bool fits(int64_t largest_plan_bytes, const Config& config, const Profile& profile) {
  const int ranks = profile.is_cpu() ? cpu_layout(config, profile.cpu).ranks_a_host : 1;
  return static_cast<double>(largest_plan_bytes) * ranks <= profile.device.plannable_bytes();
}

SimulationOptions options_of(const Config& config) {
  return {slow_ranks_of(config),
          config.detail.value_or(config.predict_trace.empty() ? Detail::kAction : Detail::kNode)};
}

Prediction predict(const Plan& plan) {
  return predict(plan, load_profile(plan.config.cluster, plan.config.cluster_changes));
}

Prediction predict(const Plan& plan, Profile on, std::optional<EmulatedCluster> links) {
  Prediction prediction;
  prediction.profile = std::move(on);
  if (links) prediction.emulated_links = links->profile->name, prediction.dilation = links->dilation;
  const Profile& profile = prediction.profile;
  if (profile.is_cpu() != (plan.config.device == DeviceKind::kCpu))
    throw ConfigError(fmt::format("[flags] {} is a cluster of {}, but --device is {}. Leave out --device.",
                                  profile.name, profile.is_cpu() ? "CPUs" : "GPUs", name(plan.config.device)));
  SimulationOptions options = options_of(plan.config);
  options.links = links;
  prediction.simulation = simulate(plan, profile, options);
  prediction.certainty = certainty_of(profile, prediction.simulation);
  prediction.memory_bytes = largest_plan_bytes(plan);
  prediction.fits = fits(plan, profile);
  const double step_s = prediction.simulation.step_s;
  prediction.tokens_per_s = static_cast<double>(plan.config.tokens_per_step()) / step_s;
  prediction.mfu = mfu(plan.config, profile, step_s);
  const int num_ranks = plan.config.mesh.num_ranks();
  prediction.peak_flops = profile.peak_flops(plan.config.dtype, num_ranks, plan.config.threads) / num_ranks;
  prediction.explained = explain(prediction.simulation.mean, prediction.mfu * step_s);
  return prediction;
}

Trace predicted_trace(const Plan& plan, const Prediction& prediction) {
  const Mesh& mesh = plan.config.mesh;
  const int devices = static_cast<int>(prediction.profile.host.devices);
  const bool all = mesh.num_ranks() <= kMostTracedRanks;
  Trace trace = prediction.simulation.trace;
  if (!prediction.emulated_links.empty())
    trace.modelled = {.cluster = prediction.emulated_links, .links_only = true, .times = prediction.dilation};
  const std::vector<RankTrace> of_stage = std::move(trace.ranks);
  trace.ranks.clear();
  for (int rank = 0; rank < mesh.num_ranks(); ++rank) {
    const Coordinate at = mesh.coordinate(rank);
    if (!all && (at.dp > 0 || at.tp > 0)) continue;
    RankTrace& own = trace.ranks.emplace_back(of_stage[static_cast<size_t>(at.pp)]);
    own.rank = rank, own.coordinate = at, own.host = fmt::format("host {}", rank / devices);
  }
  return trace;
}

void write_predicted_trace(const Plan& plan, const Prediction& prediction, const std::string& folder) {
  if (const auto names = is_there(folder) ? names_in(folder) : std::nullopt; names && !names->empty())
    throw ConfigError(fmt::format(
        "[flags] --predict-trace {} is not empty: nothing in it is replaced. Choose another folder, or empty it.",
        folder));
  std::filesystem::create_directories(folder);
  write_trace(predicted_trace(plan, prediction), folder);
  OutputFile config(folder + "/config.json");
  config.append(to_json(plan.config).dump(2) + '\n');
  if (const auto problem = config.take_warning()) throw DataError(*problem);
}

}  // namespace trine
