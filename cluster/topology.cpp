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

Transfer together(const std::vector<Transfer>& transfers) {
  Transfer all = transfers[0];
  std::map<int, double> load;
  for (const Transfer& transfer : transfers)
    for (const LinkUse& use : transfer.uses) load[use.resource] += use.weight;
  all.uses.clear();
  for (const auto& [resource, weight] : load) all.uses.push_back({resource, weight});
  return all;
}

int Topology::resource(Link link) {
  const auto [place, is_new] = number_.try_emplace(link, links_.num_resources());
  if (is_new) {
    links_.add(name_of(link), gb_per_s_of(link) * 1e9);
    link_.push_back(link);
  }
  return place->second;
}

int Topology::link_of_host(int resource_number, int hosts_on) {
  Link link = link_[static_cast<size_t>(resource_number)];
  link.host += hosts_on;
  return resource(link);
}

std::string Topology::name_of(Link link) const {
  const int device = link.host * devices_ + link.index;
  const int sockets = num_sockets();
  switch (link.kind) {
    case Link::kOut:
      return fmt::format("rank {} link out", device);
    case Link::kIn:
      return fmt::format("rank {} link in", device);
    case Link::kNvlinkOut:
      return fmt::format("rank {} nvlink out", device);
    case Link::kNvlinkIn:
      return fmt::format("rank {} nvlink in", device);
    case Link::kUp:
      return fmt::format("host {} switch {} up", link.host, link.index);
    case Link::kDown:
      return fmt::format("host {} switch {} down", link.host, link.index);
    case Link::kMemory:
      return fmt::format("host {} socket {} memory", link.host, link.index);
    case Link::kSockets:
      return fmt::format("host {} sockets {} to {}", link.host, link.index / sockets, link.index % sockets);
    case Link::kNetworkOut:
      return fmt::format("host {} network out", link.host);
    case Link::kNetworkIn:
      return fmt::format("host {} network in", link.host);
  }
  return {};
}

double Topology::gb_per_s_of(Link link) const {
  switch (link.kind) {
    case Link::kOut:
    case Link::kIn:
      return profile_.device.link_gb_per_s;
    case Link::kNvlinkOut:
    case Link::kNvlinkIn:
      return profile_.host.nvlink_gb_per_s;
    case Link::kUp:
    case Link::kDown:
      return profile_.host.switch_gb_per_s;
    case Link::kMemory:
      return profile_.host.memory_gb_per_s;
    case Link::kSockets:
      return profile_.host.socket_gb_per_s;
    case Link::kNetworkOut:
    case Link::kNetworkIn:
      return profile_.network.nics * profile_.network.nic_gb_per_s / profile_.network.oversubscription;
  }
  return 0;
}

bool Topology::by_nvlink(int a, int b) const {
  const int domain = static_cast<int>(profile_.host.nvlink_devices);
  return domain > 1 && host_of(a) == host_of(b) && a % devices_ / domain == b % devices_ / domain;
}

// Without peer access every byte is written to the host's memory and read from it.
void Topology::over_host_memory(int rank, double weight, Load& load) {
  load[resource({Link::kMemory, host_of(rank), socket_of(rank)})] += weight;
}

// Bytes from one device to another.
void Topology::hop(int from, int to, double weight, Load& load) {
  const HostProfile& host = profile_.host;
  const int from_host = host_of(from), to_host = host_of(to);
  const auto add = [&](Link::Kind kind, int of_host, int index) {
    load[resource({kind, of_host, index})] += weight;
  };
  if (by_nvlink(from, to)) {
    add(Link::kNvlinkOut, from_host, from % devices_);
    add(Link::kNvlinkIn, to_host, to % devices_);
    return;
  }
  add(Link::kOut, from_host, from % devices_);
  add(Link::kIn, to_host, to % devices_);
  const int per_switch = static_cast<int>(host.devices_per_switch);
  const auto switch_of = [&](int rank) { return per_switch > 0 ? rank % devices_ / per_switch : -1; };
  const bool same_host = from_host == to_host;
  if (per_switch > 0 && !(same_host && host.peer_access > 0 && switch_of(from) == switch_of(to))) {
    add(Link::kUp, from_host, switch_of(from));
    add(Link::kDown, to_host, switch_of(to));
  }
  if (host.peer_access == 0) over_host_memory(from, weight, load), over_host_memory(to, weight, load);
  if (!same_host) {
    add(Link::kNetworkOut, from_host, 0);
    add(Link::kNetworkIn, to_host, 0);
  } else if (socket_of(from) != socket_of(to)) {
    add(Link::kSockets, from_host, socket_of(from) * num_sockets() + socket_of(to));
  }
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
    load[resource({Link::kNvlinkOut, host_of(rank), rank % devices_})] =
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
