// Whether choices of a layout that are given can be at all, before anything is searched.
#pragma once

#include "analysis/planner/layout.h"
#include "base/error.h"

namespace trine {

// Adds a problem for each choice that no layout has, and for those that contradict each other, the model or the number of
// devices.
void check_fixed_choices(const PlanQuestion& question, Problems& problems);

}  // namespace trine
