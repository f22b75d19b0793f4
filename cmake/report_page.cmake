# Writes a source with the texts of analysis/report/page/: add_report_page(TARGET).
function(add_report_page target)
  foreach(part page.html page.css page.js)
    set(file ${PROJECT_SOURCE_DIR}/analysis/report/page/${part})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    string(REPLACE . _ name ${part})
    file(READ ${file} ${name})
  endforeach()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/report_page.cpp @ONLY CONTENT [[
#include "analysis/report/page_texts.h"

namespace trine {

std::string_view page_html() { return R"page(@page_html@)page"; }
std::string_view page_style() { return R"page(@page_css@)page"; }
std::string_view page_script() { return R"page(@page_js@)page"; }

}  // namespace trine
]])
  target_sources(${target} PRIVATE ${PROJECT_BINARY_DIR}/report_page.cpp)
endfunction()
