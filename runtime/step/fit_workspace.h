// The workspace of a plan for this machine. A plan reserves what kernels of any CPU may use; which products go
// through f32 copies, and what the library's scratchpad takes, is known where the kernels are made.
#pragma once

#include "plan/plan.h"
#include "runtime/device/backend.h"

namespace trine {

// Gives every stage of a CPU's plan the workspace that `backend`'s kernels use. Plans of other devices stay as they are.
void fit_workspace(Plan& plan, const Backend& backend);

}  // namespace trine
