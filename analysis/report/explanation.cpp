#include "analysis/report/explanation.h"

#include <fmt/format.h>

#include "analysis/planner/planner.h"
#include "base/error.h"
#include "base/file_system.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

constexpr const char* kName = "config.json";

}  // namespace

std::optional<Config> config_of_run(const std::filesystem::path& run_or_traces, int num_ranks) {
  for (const std::filesystem::path& folder : {run_or_traces, run_or_traces.parent_path()}) {
    const std::string file = (folder / kName).string();
    if (folder.empty() || !is_there(file)) continue;
    const std::string ranks = fmt::format("{}", num_ranks);
    const char* const argv[] = {"train_llama", "--config", file.c_str(), "--dry-run", "--ranks", ranks.c_str()};
    return std::get<Config>(parse_train_flags(std::ssize(argv), argv, {}, ""));
  }
  return std::nullopt;
}

Explanation explain_run(const Config& config, const std::string& cluster) {
  Config planned = config;
  planned.cluster = cluster;
  const bool of_cpus = load_profile(cluster, planned.cluster_changes).is_cpu();
  if (of_cpus != (config.device == DeviceKind::kCpu))
    throw ConfigError(fmt::format(
        "[flags] --cluster {} is one of {}, but the run was one on {}. Name what it ran on; measure_cluster writes "
        "a profile of this machine.",
        cluster, of_cpus ? "CPUs" : "GPUs", of_cpus ? "GPUs" : "CPUs"));
  const Plan plan = build_plan(planned);
  Explanation explanation{.cluster = cluster, .prediction = predict(plan)};
  Prediction& prediction = explanation.prediction;
  explanation.peak_s = prediction.mfu * prediction.simulation.step_s;
  prediction.outlook = outlook_with_layouts(plan, prediction);
  return explanation;
}

}  // namespace trine
