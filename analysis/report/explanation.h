// Why a measured step takes what it takes, and what would shorten it: the plan of its run, simulated on a profile.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "analysis/prediction.h"
#include "plan/config/config.h"

namespace trine {

struct Explanation {
  std::string cluster;
  double peak_s = 0;      // of a step: the model's arithmetic at the peak of the profile's devices
  Prediction prediction;  // of the same plan; its outlook is filled
};

// The configuration that a run keeps beside its traces, or one folder above them. Nothing: there is none.
// DataError for one that cannot be read.
std::optional<Config> config_of_run(const std::filesystem::path& run_or_traces, int num_ranks);

// ConfigError where the profile cannot be, or is one of GPUs and the run was one of CPUs, or the reverse.
Explanation explain_run(const Config& config, const std::string& cluster);

}  // namespace trine
