// A word to those whose layout is not the best for their machine.
#pragma once

#include <optional>
#include <string>

#include "cluster/profile.h"
#include "plan/plan.h"

namespace trine {

// The command that looks for the best layout of the same training, with --fix and --set for what is not the preset's or
// the cluster's own.
std::string planner_command(const Config& config, const std::string& cluster);

// Says so where the layout of `plan` is predicted to take more than 15 % longer than the best of as many ranks on this
// measured profile; nothing where it does not, or where that is not known: more threads than cores, ops that were
// not measured. Looks for `within_s` seconds at most. `cluster` is how the profile is called on a command line.
std::optional<std::string> layout_hint(const Plan& plan, const Profile& profile, const std::string& cluster,
                                       double within_s);

}  // namespace trine
