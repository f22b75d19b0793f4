// What each node of a plan costs on a cluster, looked up once: the simulator walks thousands of executions of few
// nodes.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "cluster/profile.h"
#include "cluster/topology.h"
#include "plan/plan.h"

namespace trine {

struct NodeCost {
  double seconds = 0;  // of a kernel of the compute lane, the launch included
  double flops = 0;
  int64_t bytes = 0;          // read and written
  int64_t wire_bytes = 0;     // of communication: what the rank sends
  int64_t message_bytes = 0;  // of a pipeline message
};

class SimulatedCosts {
 public:
  SimulatedCosts(const Plan& plan, const Profile& profile);

  const NodeCost& node(int pp, int node) const {
    return nodes_[static_cast<size_t>(pp)][static_cast<size_t>(node)];
  }
  // Of a node of another lane than compute, while the other groups of its axis on the same hosts do the same.
  double collective_s(int pp, int node);
  // From one pipeline rank to another, while all their tp and dp ranks on the same hosts do the same.
  double message_s(int from, int to, int64_t bytes);

 private:
  double together_s(Topology& topology, const std::vector<Transfer>& transfers) const;
  std::vector<std::vector<int>> groups_beside(int pp, Axis axis) const;

  const Plan& plan_;
  const Profile& profile_;
  std::vector<std::vector<NodeCost>> nodes_;
  std::vector<std::vector<double>> collectives_;                  // by pp and node; -1: not asked for yet
  std::map<std::tuple<int, Axis, int, double>, double> by_size_;  // pp (-1: all alike), axis, op, bytes
  std::map<std::tuple<int, int, int64_t>, double> messages_;
};

}  // namespace trine
