// What ranks share when they talk: the links of hosts as resources (base/link_model.h), and what a transfer takes
// of them. Rank r sits on device r mod k of host r div k. Pure functions of a profile.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/link_model.h"
#include "cluster/profile.h"

namespace trine {

enum class CollectiveOp { kAllReduce, kAllGather, kReduceScatter };

// Moves `bytes` over the links, after a latency that nothing shortens.
struct Transfer {
  double latency_s = 0, bytes = 0;
  std::vector<LinkUse> uses;

  double seconds_alone(const LinkModel& links) const {
    return latency_s + (bytes > 0 ? bytes / links.rate_alone(uses) : 0);
  }
};

// Of the first of these transfers while all of them run. REQUIRES: at least one.
double together_s(const LinkModel& links, const std::vector<Transfer>& transfers);
// Transfers alike that begin together, as one: all of its parts are as fast as the slowest. REQUIRES: at least one.
Transfer together(const std::vector<Transfer>& transfers);

class Topology {
 public:
  explicit Topology(const Profile& profile) : profile_(profile) {}

  // Of the hosts of these ranks. Resources are added as transfers name them; so all transfers that shall share them
  // come from one topology.
  const LinkModel& links() const { return links_; }
  int host_of(int rank) const { return rank / devices_; }
  int host_of_link(int resource) const { return link_[static_cast<size_t>(resource)].host; }
  // The same link of the host that is so many hosts on.
  int link_of_host(int resource, int hosts_on);

  // All ranks of the group hold or get `bytes` (an all_gather's output, a reduce_scatter's input).
  //
  // A ring moves 2 (n - 1) / n of the bytes over each link for an all-reduce, half of that for the others
  // (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 2009; nccl-tests/doc/PERFORMANCE.md), at a
  // share efficiency (1 - group_loss / n) of the link; an all-reduce of more than four devices at one NVSwitch may
  // be summed there (NVLS). Between hosts a ring of all ranks crosses each host's NICs once; an all-reduce may take
  // NCCL's double binary tree of hosts instead, and does so where each host sums in its switch (NVLSTree: S. Jeaugey,
  // "NCCL: the inter-GPU communication library", GTC 2024, S62129). What hosts do inside goes on at the same time.
  //
  // Latency is that of the better of two protocols (as NCCL's LL128 and Simple): low_us + (n - 2) hop_us with
  // low_share of the bandwidth, or bulk_us + (n - 2) bulk_hop_us with all of it; between h hosts each gets longer
  // by log2(h) messages of its kind. Constants: fits to measured all-reduces, tests/cluster/topology_test.cpp.
  Transfer collective(CollectiveOp op, double bytes, std::span<const int> ranks);
  Transfer message(double bytes, int from, int to);

 private:
  // Bytes that cross a resource for each byte of a transfer.
  using Load = std::map<int, double>;

  // A link of a host: of its device, switch, socket or pair of sockets `index`, or the only one of its kind.
  struct Link {
    enum Kind { kOut, kIn, kNvlinkOut, kNvlinkIn, kUp, kDown, kMemory, kSockets, kNetworkOut, kNetworkIn } kind;
    int host = 0, index = 0;
    auto operator<=>(const Link&) const = default;
  };
  int resource(Link link);
  std::string name_of(Link link) const;
  double gb_per_s_of(Link link) const;
  void hop(int from, int to, double weight, Load& load);
  void over_host_memory(int rank, double weight, Load& load);
  Load ring(std::span<const int> ranks, double times);
  Load in_switch(std::span<const int> ranks, double times);
  bool sums_in_switch(std::span<const int> ranks) const;
  // Of both protocols, before a transfer moves bytes.
  struct Latency {
    double low_us = 0, bulk_us = 0;
  };
  Latency inside(double hops) const;
  Latency between(size_t hosts) const;
  Transfer two_protocols(double bytes, const Latency& latency, double low_share, const Load& load) const;
  Transfer inside_host(CollectiveOp op, double bytes, std::span<const int> ranks);
  bool by_nvlink(int a, int b) const;
  int num_sockets() const { return (devices_ + per_socket_ - 1) / per_socket_; }
  int socket_of(int rank) const { return rank % devices_ / per_socket_; }

  const Profile profile_;
  const int devices_ = static_cast<int>(profile_.host.devices),
            per_socket_ = static_cast<int>(profile_.host.devices_per_socket);
  LinkModel links_;
  std::vector<Link> link_;  // by its number
  std::map<Link, int> number_;
};

}  // namespace trine
