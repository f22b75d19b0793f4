#include "base/mesh.h"

namespace trine {

std::string_view name(Axis axis) { return axis == Axis::kPp ? "pp" : axis == Axis::kDp ? "dp" : "tp"; }

std::vector<int> Mesh::group(Coordinate c, Axis axis) const {
  std::vector<int> ranks;
  for (int i = 0; i < (*this)[axis]; ++i) {
    (axis == Axis::kPp ? c.pp : axis == Axis::kDp ? c.dp : c.tp) = i;
    ranks.push_back(rank(c));
  }
  return ranks;
}

}  // namespace trine
