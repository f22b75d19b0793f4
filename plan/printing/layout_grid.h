// Which ranks form a layout, and on which hosts they are.
#pragma once

#include <string>
#include <vector>

#include "base/mesh.h"

namespace trine {

// The ranks as a table: a line per pipeline rank, in it the tp group of each dp rank, and its hosts. Of many dp
// ranks the first and the last. `hosts`: each rank's, by rank; empty: not known, and not shown.
//   pp 0: dp 0: 0-1 (node1), dp 1: 2-3 (node1)
std::string layout_grid(const Mesh& mesh, const std::vector<std::string>& hosts = {});

// A warning if tp groups have ranks on several hosts, with what brings them together. `hosts` as above.
std::vector<std::string> host_warnings(const Mesh& mesh, const std::vector<std::string>& hosts);

}  // namespace trine
