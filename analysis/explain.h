// Why a step takes what it takes, and what would make it shorter.
#pragma once

#include <string>
#include <vector>

#include "cluster/profile.h"
#include "plan/plan.h"
#include "trace/accounting.h"

namespace trine {

// Parts: peak kernels recompute tp pp bubble dp wait optimizer data host checkpoint idle.
struct ExplainedPart {
  std::string part;
  double s = 0;
};

// The mean step of a rank as a waterfall that sums to it: computing is arithmetic at the device's peak (`peak_s`,
// the model's FLOPs) and what kernels take beyond. Parts without time are left out.
std::vector<ExplainedPart> explain(const StepBreakdown& mean, double peak_s);
// What a person calls a part: "arithmetic at the devices' peak".
std::string_view part_text(std::string_view part);

struct WhatIf {
  std::string id;      // "links_x2"
  std::string change;  // "links inside a host twice as fast"
  double step_s = 0, gain_s = 0;
};

// The same step with one thing changed, each simulated anew; most gained first, and only what gains at least 0.5 %
// of `step_s`. Of GPU clusters: links, network, P2P, NVLink as in an A100 host, arithmetic, memory, host; of the
// plan: less recomputation, where it fits the card, or one of 80 GB. REQUIRES: the plan is one for `profile`, and
// takes `step_s` there.
std::vector<WhatIf> what_if(const Plan& plan, const Profile& profile, double step_s);

}  // namespace trine
