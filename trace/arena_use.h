// How much of a rank's arena the plan has in use in the course of a step.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace trine {

// By action of the stage's schedule, in bytes: states, the kernels' workspace, and of every pool the slots that
// hold something which is made then or earlier, and read then or later. At most the arena's size.
std::vector<int64_t> arena_in_use(const StagePlan& stage);

}  // namespace trine
