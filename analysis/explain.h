// Why a step takes what it takes: its parts, from the arithmetic that must be done to what is lost.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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

}  // namespace trine
