// A report as JSON, in the fields that docs/traces.md lists: what other programs and the HTML page read.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "analysis/report/report.h"

namespace trine {

// {"compute_s": ..., "idle_s": ...}, as in metrics.jsonl.
nlohmann::ordered_json breakdown_json(const StepBreakdown& time);
nlohmann::ordered_json report_json(const Report& report);

}  // namespace trine
