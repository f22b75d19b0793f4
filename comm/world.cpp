#include "comm/world.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace trine {
namespace {

std::vector<int> all_ranks(int num_ranks) {
  std::vector<int> all(static_cast<size_t>(num_ranks));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

std::vector<int> members(Group group, const Mesh& mesh, Coordinate at) {
  switch (group) {
    case Group::kTp:
      return mesh.group(at, Axis::kTp);
    case Group::kDp:
      return mesh.group(at, Axis::kDp);
    case Group::kPp:
    case Group::kPipeline:
      return mesh.group(at, Axis::kPp);
    case Group::kWorld:
      break;
  }
  return all_ranks(mesh.num_ranks());
}

}  // namespace

std::string_view name(Group group) {
  constexpr std::string_view names[] = {"world", "tp", "dp", "pp", "pipeline"};
  return names[static_cast<size_t>(group)];
}

std::unique_ptr<Communicator> connect_all(Fabric& fabric, std::chrono::milliseconds timeout) {
  const std::vector<int> all = all_ranks(fabric.num_ranks());
  return std::make_unique<Communicator>("start", all, fabric.rank(), fabric.connect(all), timeout);
}

CommWorld::CommWorld(Fabric& fabric, const Mesh& mesh, std::chrono::milliseconds timeout)
    : mesh_(mesh), coordinate_(mesh.coordinate(fabric.rank())) {
  TRINE_CHECK(fabric.num_ranks() == mesh.num_ranks(), "{} ranks, mesh of {}", fabric.num_ranks(), mesh.num_ranks());
  for (const Group group : kGroups) {
    std::vector<int> ranks = members(group, mesh, coordinate_);
    const auto own = static_cast<int>(std::find(ranks.begin(), ranks.end(), fabric.rank()) - ranks.begin());
    std::unique_ptr<Transport> transport = fabric.connect(ranks);
    groups_[static_cast<size_t>(group)] = std::make_unique<Communicator>(std::string(name(group)), std::move(ranks),
                                                                         own, std::move(transport), timeout);
  }
}

}  // namespace trine
