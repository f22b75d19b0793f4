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
  double seconds = 0;   // of a kernel of the compute lane, the launch included
  double launches = 1;  // of the thread that launches
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

// What a pipeline rank puts on the links at once: a collective of each of its groups along an axis, or a message of each
// of its ranks. They are alike and begin together, so that one stands for all.
struct SharedTransfer {
  double latency_s = 0, bytes = 0;
  double alone_bytes_per_s = 0;  // while nothing else is on the links
  std::vector<LinkUse> uses;     // of links on hosts of the ranks that stand for all (SimulatedCosts::links())

  double seconds_alone() const { return (bytes > 0 ? bytes / alone_bytes_per_s : 0) + latency_s; }
};

class SimulatedCosts {
 public:
  // REQUIRES: the plan is one for the profile's kind of device.
  SimulatedCosts(const Plan& plan, const Profile& profile);

  const NodeCost& node(int pp, int node) const {
    return nodes_[static_cast<size_t>(pp)][static_cast<size_t>(node)];
  }
  // Of a node of another lane than compute, with the other groups of its axis on the same hosts. On CPUs they take
  // latency alone.
  const SharedTransfer& collective(int pp, int node);
  double collective_s(int pp, int node) { return collective(pp, node).seconds_alone(); }
  const CpuLayout& cpu() const { return cpu_; }
  // Of CPUs: ops that the profile does not have, by name, where the guess is more than 1 % of a pipeline rank's kernels.
  std::vector<std::string> not_measured() const;
  // From one pipeline rank to another, of all their tp and dp ranks on the same hosts.
  const SharedTransfer& message(int from, int to, int64_t bytes);
  double message_s(int from, int to, int64_t bytes) { return message(from, to, bytes).seconds_alone(); }
  // The same of an activation or its gradient, which all ranks of a tp group hold unless sequence parallelism has
  // split it. With device.scattered_messages each sends a part, and they gather it behind (Narayanan et al., SC'21,
  // section 4.1).
  const SharedTransfer& activation(int from, int to, int64_t bytes);
  // Of GPUs: what all transfers share.
  const LinkModel& links() const { return topology_.links(); }

 private:
  double kernel_seconds(const Graph& graph, const Node& node, const Cost& cost, bool& guessed) const;
  double cpu_collective_s(int pp, const Collective& collective, DType dtype, CollectiveOp op, double bytes) const;
  const SharedTransfer& of_groups(int pp, Axis axis, CollectiveOp op, double bytes);  // of GPUs
  std::vector<std::vector<int>> groups_beside(int pp, Axis axis) const;
  bool stages_have_own_hosts() const;
  SharedTransfer shared(const Transfer& transfer, std::span<const int> hosts) const;

  const Plan& plan_;
  const Profile& profile_;
  const CpuLayout cpu_;                                 // of a profile of CPUs
  std::map<std::string, double, std::less<>> guessed_;  // by op: largest share of a pipeline rank's kernels
  std::vector<std::vector<NodeCost>> nodes_;
  Topology topology_;                                            // of a profile of GPUs
  std::vector<std::vector<const SharedTransfer*>> collectives_;  // by pp and node; nullptr: not asked for yet
  std::map<std::tuple<int, Axis, int, double>, SharedTransfer> groups_;  // by pp, axis, op, bytes
  std::map<std::pair<int, int>, SharedTransfer> of_nodes_;  // by pp and node: of CPUs, and of parts of a whole
  std::map<std::tuple<int, int, int64_t>, SharedTransfer> messages_, activations_;
};

}  // namespace trine
