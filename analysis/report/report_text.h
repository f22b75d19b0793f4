// A report for a terminal.
#pragma once

#include <string>

#include "analysis/report/report.h"

namespace trine {

// Three lines of answer first, then tables of at most `top` rows each. `name` is what was read.
std::string report_text(const Report& report, const std::string& name, int top);

}  // namespace trine
