// Two reports side by side: what changed, and what of it the step felt.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "analysis/report/report.h"

namespace trine {

// Seconds of a step: of a category, of a link's exposed time and of an operation the mean over ranks; of a rank its
// own (see own_s).
struct Difference {
  std::string what;  // "exposed tp communication", "tp all_gather", "linear", "rank 3"
  double before_s = 0, after_s = 0;
  std::optional<double>
      felt_s;  // what it added to the critical path; nothing of waits, which have causes, and of ranks
  double change_s() const { return after_s - before_s; }
};

// Each list biggest change first; what is the same in both is left out.
struct ReportDiff {
  double before_s = 0, after_s = 0;  // of a step
  std::vector<Difference> categories, links, ops, ranks;
};

// Ranks are compared where both reports have them.
ReportDiff diff(const Report& before, const Report& after);

std::string diff_text(const ReportDiff& diff, const std::string& before, const std::string& after, int top);
nlohmann::ordered_json diff_json(const ReportDiff& diff);

}  // namespace trine
