#include "cluster/topology.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/error.h"

namespace trine {
namespace {

// Between hosts: messages for each doubling of the hosts, and the share of the bandwidth that
// the quick protocol has. Fits to all-reduces of 32 to 8,192 H100.
constexpr double kLowMessages = 4.4, kBulkMessages = 7.3, kLowShareBetweenHosts = 0.33;

// What leaves the host that sends most, of the bytes that go around once. A ring passes each host's border with all
// but one part of n. In NCCL's double binary tree (Sanders, Speck and Traeff, 2009) a host is within one tree and a
// leaf of the other, and sends half of the bytes up in both and to two hosts down: all of them from four hosts on,
// however many there are.
double share_of_ring(double ranks) { return (ranks - 1) / ranks; }
double share_of_tree(size_t hosts) { return hosts == 2 ? 0.5 : hosts == 3 ? 0.75 : 1; }

}  // namespace

double together_s(const LinkModel& links, const std::vector<Transfer>& transfers) {
  std::vector<std::span<const LinkUse>> uses;
  for (const Transfer& transfer : transfers) uses.emplace_back(transfer.uses);
  const double rate = fair_rates(links, uses)[0];
  return transfers[0].latency_s + (transfers[0].bytes > 0 ? transfers[0].bytes / rate : 0);
}

int Topology::resource(const std::string& name, double gb_per_s) {
  const auto [place, is_new] = by_name_.try_emplace(name, 0);
  if (is_new) place->second = links_.add(name, gb_per_s * 1e9);
  return place->second;
}

bool Topology::by_nvlink(int a, int b) const {
  const int domain = static_cast<int>(profile_.host.nvlink_devices);
  return domain > 1 && host_of(a) == host_of(b) && a % devices_ / domain == b % devices_ / domain;
}

// Without peer access every byte is written to the host's memory and read from it.
void Topology::over_host_memory(int rank, double weight, Load& load) {
  load[resource(fmt::format("host {} socket {} memory", host_of(rank), socket_of(rank)),
                profile_.host.memory_gb_per_s)] += weight;
}

// Bytes from one device to another.
void Topology::hop(int from, int to, double weight, Load& load) {
  const HostProfile& host = profile_.host;
  if (by_nvlink(from, to)) {
    load[resource(fmt::format("rank {} nvlink out", from), host.nvlink_gb_per_s)] += weight;
    load[resource(fmt::format("rank {} nvlink in", to), host.nvlink_gb_per_s)] += weight;
    return;
  }
  load[resource(fmt::format("rank {} link out", from), profile_.device.link_gb_per_s)] += weight;
  load[resource(fmt::format("rank {} link in", to), profile_.device.link_gb_per_s)] += weight;
  const int per_switch = static_cast<int>(host.devices_per_switch);
  const auto switch_of = [&](int rank) { return per_switch > 0 ? rank % devices_ / per_switch : -1; };
  const bool same_host = host_of(from) == host_of(to);
  if (per_switch > 0 && !(same_host && host.peer_access > 0 && switch_of(from) == switch_of(to))) {
    load[resource(fmt::format("host {} switch {} up", host_of(from), switch_of(from)), host.switch_gb_per_s)] +=
        weight;
    load[resource(fmt::format("host {} switch {} down", host_of(to), switch_of(to)), host.switch_gb_per_s)] +=
        weight;
  }
  if (same_host) {
    if (host.peer_access == 0) over_host_memory(from, weight, load), over_host_memory(to, weight, load);
    if (socket_of(from) != socket_of(to))
      load[resource(fmt::format("host {} sockets {} to {}", host_of(from), socket_of(from), socket_of(to)),
                    host.socket_gb_per_s)] += weight;
    return;
  }
  if (host.peer_access == 0) over_host_memory(from, weight, load), over_host_memory(to, weight, load);
  const double nics = profile_.network.nics * profile_.network.nic_gb_per_s / profile_.network.oversubscription;
  load[resource(fmt::format("host {} network out", host_of(from)), nics)] += weight;
  load[resource(fmt::format("host {} network in", host_of(to)), nics)] += weight;
}

// `times`: 2 for an all-reduce, which goes around twice.
Topology::Load Topology::ring(std::span<const int> ranks, double times) {
  Load load;
  const auto n = static_cast<double>(ranks.size());
  const CollectiveProfile& c = profile_.collective;
  const double share = c.efficiency * (1 - c.group_loss / n);
  for (size_t i = 0; i < ranks.size(); ++i)
    if (ranks.size() > 1) hop(ranks[i], ranks[(i + 1) % ranks.size()], times * (n - 1) / n / share, load);
  return load;
}

bool Topology::sums_in_switch(std::span<const int> ranks) const {
  return profile_.collective.nvls_gb_per_s > profile_.collective.efficiency * profile_.host.nvlink_gb_per_s &&
         ranks.size() > 4 && std::ranges::all_of(ranks, [&](int rank) { return by_nvlink(ranks[0], rank); });
}

// nvls_gb_per_s is a busbw: that of a ring that would take as long.
Topology::Load Topology::in_switch(std::span<const int> ranks, double times) {
  Load load;
  const auto n = static_cast<double>(ranks.size());
  const double nvlink = profile_.host.nvlink_gb_per_s;
  for (const int rank : ranks)
    load[resource(fmt::format("rank {} nvlink out", rank), nvlink)] =
        times * (n - 1) / n * nvlink / profile_.collective.nvls_gb_per_s;
  return load;
}

Topology::Latency Topology::inside(double hops) const {
  const CollectiveProfile& c = profile_.collective;
  return {c.low_us + c.hop_us * hops, c.bulk_us + c.bulk_hop_us * hops};
}

Topology::Latency Topology::between(size_t hosts) const {
  const double doublings = std::log2(static_cast<double>(hosts)) * profile_.network.latency_us;
  return {kLowMessages * doublings, kBulkMessages * doublings};
}

Transfer Topology::two_protocols(double bytes, const Latency& latency, double low_share, const Load& load) const {
  const auto transfer = [&](double us, double share) {
    Transfer t{.latency_s = us * 1e-6, .bytes = bytes, .uses = {}};
    for (const auto& [resource, weight] : load) t.uses.push_back({resource, weight / share});
    return t;
  };
  const Transfer low = transfer(latency.low_us, low_share), bulk = transfer(latency.bulk_us, 1);
  return low.seconds_alone(links_) <= bulk.seconds_alone(links_) ? low : bulk;
}

Transfer Topology::collective(CollectiveOp op, double bytes, std::span<const int> ranks) {
  if (ranks.size() < 2 || bytes <= 0) return {};
  std::map<int, std::vector<int>> by_host;
  for (const int rank : ranks) by_host[host_of(rank)].push_back(rank);
  if (by_host.size() == 1) return inside_host(op, bytes, ranks);

  const bool sums = op == CollectiveOp::kAllReduce;
  const double times = sums ? 2 : 1;
  std::vector<std::vector<int>> members;
  bool in_switches = sums;
  for (const auto& [host, ranks_of_host] : by_host) {
    members.push_back(ranks_of_host);
    in_switches = in_switches && sums_in_switch(ranks_of_host);
  }
  const double of_ring = share_of_ring(static_cast<double>(ranks.size())), of_tree = share_of_tree(members.size());
  const double crosses = times * (in_switches ? of_tree : sums ? std::min(of_ring, of_tree) : of_ring);
  // What is under way in the hosts is so between them at the same time.
  Load load;
  for (size_t h = 0; h < members.size(); ++h) {
    const auto &from = members[h], &to = members[(h + 1) % members.size()];
    for (const auto& [resource, weight] : in_switches ? in_switch(from, times) : ring(from, times))
      load[resource] += weight;
    for (size_t i = 0; i < from.size(); ++i)
      hop(from[i], to[i % to.size()],
          crosses / static_cast<double>(from.size()) / profile_.collective.network_efficiency, load);
  }

  Latency latency = between(members.size());
  const double hops = static_cast<double>(ranks.size()) / static_cast<double>(members.size()) - 2;
  if (hops > -1 && !in_switches) {  // of a tree it is hidden behind the messages between hosts
    const Latency of_hosts = inside(std::max(0.0, hops));
    latency.low_us += of_hosts.low_us, latency.bulk_us += of_hosts.bulk_us;
  }
  return two_protocols(bytes, latency, std::min(profile_.collective.low_share, kLowShareBetweenHosts), load);
}

Transfer Topology::inside_host(CollectiveOp op, double bytes, std::span<const int> ranks) {
  const double times = op == CollectiveOp::kAllReduce ? 2 : 1;
  const Latency latency = inside(static_cast<double>(ranks.size()) - 2);
  const Transfer around = two_protocols(bytes, latency, profile_.collective.low_share, ring(ranks, times));
  if (op != CollectiveOp::kAllReduce || !sums_in_switch(ranks)) return around;
  Transfer summed{.latency_s = latency.bulk_us * 1e-6, .bytes = bytes, .uses = {}};
  for (const auto& [resource, weight] : in_switch(ranks, times)) summed.uses.push_back({resource, weight});
  return summed.seconds_alone(links_) < around.seconds_alone(links_) ? summed : around;
}

// A send goes one way where a collective of two goes twice.
Transfer Topology::message(double bytes, int from, int to) {
  if (from == to || bytes <= 0) return {};
  const bool same_host = host_of(from) == host_of(to);
  Load load;
  hop(from, to, 1, load);
  const double low_share = profile_.collective.low_share;
  Transfer transfer = same_host
                          ? two_protocols(bytes, inside(0), low_share, load)
                          : two_protocols(bytes, between(2), std::min(low_share, kLowShareBetweenHosts), load);
  transfer.latency_s /= 2;
  return transfer;
}

}  // namespace trine
