// Plans that fit: --memory-budget, and --recompute auto, which finds the cheapest recomputation that does.
#pragma once

#include <functional>
#include <vector>

#include "plan/plan.h"

namespace trine {

// What auto tries, from cheap to dear: none, selective, group:K for the divisors K > 1 of the layers, from large to
// small (none larger than a stage's layers), full.
std::vector<Recompute> recompute_candidates(const Config& config);

// The plan that `build` makes of a config; for auto, the first of the candidates whose stages all fit the budget,
// with that policy in its config. If none does: OutOfMemoryError with the smallest need and its table, or, of a
// config that only looks (Config::looks_only), that plan with a warning; so too of a fixed policy that does not
// fit. ConfigError for auto without a budget: what a machine has is the caller's to say.
Plan build_within_budget(const Config& config, const std::function<Plan(const Config&)>& build);

}  // namespace trine
