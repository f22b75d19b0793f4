#include "plan/happens_before.h"

#include <algorithm>
#include <tuple>

namespace trine {

HappensBefore::HappensBefore(const Graph& graph) {
  Clock last_of_lane_clock[kLanes.size()] = {};
  std::array<int, kLanes.size()> issued = {};
  const Node* previous = nullptr;
  for (const Node& node : graph.nodes()) {
    if (previous && previous->region == Region::kMicrobatch &&
        std::tie(previous->region, previous->phase, previous->chunk) !=
            std::tie(node.region, node.phase, node.chunk))
      for (Clock& clock : last_of_lane_clock) clock = issued;
    previous = &node;
    const size_t lane = static_cast<size_t>(node.lane);
    Clock clock = last_of_lane_clock[lane];
    clock[lane] = issued[lane];
    for (NodeId wait : node.waits) {
      const size_t index = static_cast<size_t>(wait.index);
      for (size_t l = 0; l < clock.size(); ++l) clock[l] = std::max(clock[l], clock_[index][l]);
      const size_t other = static_cast<size_t>(lane_[index]);
      clock[other] = std::max(clock[other], sequence_[index]);
    }
    clock_.push_back(clock);
    lane_.push_back(node.lane);
    sequence_.push_back(++issued[lane]);
    last_of_lane_clock[lane] = clock;
  }
}

bool HappensBefore::before(NodeId a, NodeId b) const {
  const size_t from = static_cast<size_t>(a.index), to = static_cast<size_t>(b.index);
  return clock_[to][static_cast<size_t>(lane_[from])] >= sequence_[from];
}

bool HappensBefore::all_before(std::span<const NodeId> a, std::span<const NodeId> b) const {
  Clock last_a = {}, first_b;
  first_b.fill(INT32_MAX);
  for (NodeId id : a) {
    int& last = last_a[static_cast<size_t>(lane_[static_cast<size_t>(id.index)])];
    last = std::max(last, sequence_[static_cast<size_t>(id.index)]);
  }
  for (NodeId id : b)
    for (size_t l = 0; l < first_b.size(); ++l)
      first_b[l] = std::min(first_b[l], clock_[static_cast<size_t>(id.index)][l]);
  for (size_t l = 0; l < first_b.size(); ++l)
    if (last_a[l] > first_b[l]) return false;
  return true;
}

}  // namespace trine
