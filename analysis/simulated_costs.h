// What each node of a plan costs on a cluster, looked up once:
// the simulator walks thousands of executions of few nodes.
#pragma once

#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "cluster/profile.h"
#include "cluster/topology.h"
#include "plan/plan.h"

namespace trine {

struct Collective;

// Of what a rank holds of them.
std::vector<Shape> shapes_of(const Graph& graph, const std::vector<ValueId>& values);

struct NodeCost {
  double seconds = 0;  // of a kernel of the compute lane, the launch included
  double flops = 0;
  int64_t bytes = 0;          // read and written
  int64_t wire_bytes = 0;     // of communication: what the rank sends
  int64_t message_bytes = 0;  // of a pipeline message
};

// How the ranks of a plan sit on hosts whose cores compute (Profile::is_cpu()): as evenly as they can.
struct CpuLayout {
  int ranks_a_host = 1;
  double busy_cores = 1;          // that ranks of a host keep busy, if there are as many
  bool oversubscribed = false;    // more threads than cores
  bool lanes_have_cores = false;  // beside those of the ranks: lanes run while their ranks compute

  int hosts_of(std::span<const int> ranks) const;  // that a group is on
};
CpuLayout cpu_layout(const Config& config, const CpuProfile& cpu);

// What a node of another lane than compute moves: the whole buffer of a collective, or the state that is sent.
struct CommunicationSize {
  CollectiveOp op = CollectiveOp::kAllReduce;
  double bytes = 0;
};
CommunicationSize size_of(const Graph& graph, const Node& node);

class SimulatedCosts {
 public:
  // REQUIRES: the plan is one for the profile's kind of device.
  SimulatedCosts(const Plan& plan, const Profile& profile);

  const NodeCost& node(int pp, int node) const {
    return nodes_[static_cast<size_t>(pp)][static_cast<size_t>(node)];
  }
  // Of a node of another lane than compute, while the other groups of its axis on the same hosts do the same.
  double collective_s(int pp, int node);
  const CpuLayout& cpu() const { return cpu_; }
  // Of CPUs: ops that the profile does not have, by name, where the guess is more than 1 % of a pipeline rank's kernels.
  std::vector<std::string> not_measured() const;
  // From one pipeline rank to another, while all their tp and dp ranks on the same hosts do the same.
  double message_s(int from, int to, int64_t bytes);
  // The same of an activation or its gradient, which all ranks of a tp group hold unless sequence parallelism has
  // split it. With device.scattered_messages each sends a part, and they gather it behind (Narayanan et al., SC'21,
  // section 4.1).
  double activation_s(int from, int to, int64_t bytes);

 private:
  double kernel_seconds(const Graph& graph, const Node& node, const Cost& cost, bool& guessed) const;
  double cpu_collective_s(int pp, const Collective& collective, DType dtype, CollectiveOp op, double bytes) const;
  double group_s(int pp, Axis axis, CollectiveOp op, double bytes);  // of GPUs
  std::vector<std::vector<int>> groups_beside(int pp, Axis axis) const;

  const Plan& plan_;
  const Profile& profile_;
  const CpuLayout cpu_;                                 // of a profile of CPUs
  std::map<std::string, double, std::less<>> guessed_;  // by op: largest share of a pipeline rank's kernels
  std::vector<std::vector<NodeCost>> nodes_;
  std::vector<std::vector<double>> collectives_;                  // by pp and node; -1: not asked for yet
  std::map<std::tuple<int, Axis, int, double>, double> by_size_;  // pp (-1: all alike), axis, op, bytes
  std::map<std::tuple<int, int, int64_t>, double> messages_;
};

}  // namespace trine
