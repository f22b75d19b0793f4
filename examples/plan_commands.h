// The commands of plan_llama, and how each reads its command line.
#pragma once

#include <string>
#include <vector>

#include "base/exit_code.h"
#include "cluster/profile.h"
#include "examples/program_flags.h"

namespace trine {

// `argv` begins with the command's name.
ExitCode plan_clusters(int argc, const char* const* argv);
ExitCode plan_inference(int argc, const char* const* argv);
ExitCode plan_failures(int argc, const char* const* argv);
ExitCode plan_article(int argc, const char* const* argv);

// The profile that --cluster names, with --set's numbers in place. ConfigError.
Profile changed_profile(const std::string& cluster, const std::vector<std::string>& changes);
// Adds --cluster and --set.
void add_cluster_flags(CLI::App& app, std::string& cluster, std::vector<std::string>& changes);

}  // namespace trine
