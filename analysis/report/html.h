// A report as a page: one file that needs no network, with a timeline to look into. It draws from the data that it
// carries, which are report_json() and the timeline, so that its numbers are those of --json.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/report/report.h"

namespace trine {

// `losses`: step and loss, where the run's metrics are known. Of the timeline, the typical step comes first and
// others follow while they fit; the shortest events are left out where even one step has too many, and the page
// says so.
std::string report_html(const Trace& trace, const Report& report, const std::string& name,
                        const std::vector<std::pair<int, double>>& losses = {});
// Of a plan that was searched for: `planner` is what planner_json() says, and the trace that of the best.
std::string planner_html(const Trace& trace, const Report& report, const nlohmann::ordered_json& planner);

// DataError where it cannot be written.
void write_page(const std::string& path, const std::string& page);

}  // namespace trine
