// Pictures of schedules: who works on what, when.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parallel/schedules/timing.h"

namespace trine {

// An SVG document: a row per rank, a box per action with its microbatch, coloured by kind and chunk, with a legend
// and the share of the bubble in the title, behind which `remark` stands.
std::string schedule_svg(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times,
                         std::string_view remark = "");

// The same as text, a row per rank and a cell per unit of time: "F0   B0-- .    F1". An action says its kind and
// microbatch (its stage too where a rank has several), dashes its length, a dot is an idle unit. REQUIRES: times
// are multiples of `unit`.
std::string schedule_rows(const std::vector<Schedule>& schedules, const std::vector<ActionTimes>& times,
                          double unit = 1);

}  // namespace trine
