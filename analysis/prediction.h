// What a step of a plan takes on a cluster (--dry-run --cluster); prediction_report.h says it.
#pragma once

#include <map>
#include <string>

#include "analysis/explain.h"
#include "analysis/simulator.h"
#include "analysis/what_if.h"

namespace trine {

// "3:1.5" each. ConfigError for another form, a rank that is none, and a factor below 1.
std::map<int, double> slow_ranks_of(const Config& config);

// What a dry run's flags ask for.
SimulationOptions options_of(const Config& config);

struct Prediction {
  Profile profile;
  Simulation simulation;
  PredictionCertainty certainty;
  std::string emulated_links;  // the cluster's whose links CPU ranks are given, dilated; empty: they have their own
  double dilation = 1;
  int64_t memory_bytes = 0;  // of the plan of the largest rank
  bool fits = false;         // in what the device leaves to a plan
  double tokens_per_s = 0, mfu = 0;
  double peak_flops = 0;                 // per second, of a rank: what the MFU is a share of
  std::vector<ExplainedPart> explained;  // sums to the step
  Outlook outlook;                       // empty until somebody asks for it, see what_if.h
};
// Of the plan of the largest rank.
int64_t largest_plan_bytes(const Plan& plan);
// Whether it fits in what the device leaves to a plan; CPU ranks share their host's memory.
bool fits(const Plan& plan, const Profile& profile);
bool fits(int64_t largest_plan_bytes, const Config& config, const Profile& profile);

// On the cluster of the plan's configuration (--cluster). REQUIRES: the plan is one for the cluster's device.
Prediction predict(const Plan& plan);
// On `profile`; ConfigError if the plan is for another kind of device.
Prediction predict(const Plan& plan, Profile profile, std::optional<EmulatedCluster> links = std::nullopt);

// The predicted step of all ranks; of more than 256, of the first of each pipeline rank. Its events are whole nodes where
// the plan's configuration says so (Config::detail).
Trace predicted_trace(const Plan& plan, const Prediction& prediction);
// Writes it as a run writes its trace, a file for each rank. With its config.json, as beside a run's. ConfigError for a folder with anything in it,
// DataError.
void write_predicted_trace(const Plan& plan, const Prediction& prediction, const std::string& folder);

}  // namespace trine
