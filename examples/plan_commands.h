// The commands of plan_llama, and how each reads its command line.
#pragma once

#include <string>
#include <vector>

#include "base/exit_code.h"
#include "cluster/profile.h"
#include "examples/program_flags.h"

namespace trine {

// `argv` begins with the command's name.
ExitCode plan_layouts(int argc, const char* const* argv);
ExitCode plan_clusters(int argc, const char* const* argv);
ExitCode plan_inference(int argc, const char* const* argv);
ExitCode plan_failures(int argc, const char* const* argv);
ExitCode plan_article(int argc, const char* const* argv);

// Adds --cluster and --set.
void add_cluster_flags(CLI::App& app, std::string& cluster, std::vector<std::string>& changes);

}  // namespace trine
