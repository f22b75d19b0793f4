// How a report says numbers and places.
#pragma once

#include <string>

#include "analysis/report/report.h"

namespace trine {

std::string seconds_text(double s);                   // "12.3 ms", "1.84 s", "850 us"
std::string percent_text(double part, double whole);  // "34.8 %"
// "rank 3 (pp 1, dp 0, tp 1, host node7)"
std::string rank_text(const Report& report, int rank);
// Both clocks of a run on emulated links, and of a rehearsal; empty for all others.
std::string clocks_text(const Report& report);
// What a person calls it: "exposed tp communication", "the pipeline's bubble".
std::string_view kind_text(EventKind kind);
std::string_view text_of(PipelineKind kind);  // "1f1b", as --schedule takes it

}  // namespace trine
