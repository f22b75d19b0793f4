// The parts of the page (analysis/report/page/), which the build puts into the program.
#pragma once

#include <string_view>

namespace trine {

std::string_view page_html();
std::string_view page_style();
std::string_view page_script();

}  // namespace trine
