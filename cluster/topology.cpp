#include "cluster/topology.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "base/error.h"

namespace trine {
namespace {

// Of the time of the faster levels of a hierarchical collective, what is not hidden behind the slowest. 0 is a
// perfect pipeline, 1 none. Measured rows of 32 to 8,192 H100 want 0.1 to 0.35.
constexpr double kLevelOverlap = 0.13;

// Between hosts: messages for each doubling of the hosts, and the share of the bandwidth that
// the quick protocol has.
constexpr double kLowMessages = 3.4, kBulkMessages = 5.7, kLowShareBetweenHosts = 0.25;

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

double Topology::seconds_a_byte(const Load& load) const {
  double most = 0;
  for (const auto& [resource, weight] : load) most = std::max(most, weight / links_.bytes_per_s(resource));
  return most;
}

Transfer Topology::two_protocols(double bytes, double hops, double hosts, const Load& load) const {
  const CollectiveProfile& c = profile_.collective;
  const double doublings = std::log2(hosts) * profile_.network.latency_us;
  const auto transfer = [&](double us, double share) {
    Transfer t{.latency_s = us * 1e-6, .bytes = bytes, .uses = {}};
    for (const auto& [resource, weight] : load) t.uses.push_back({resource, weight / share});
    return t;
  };
  const Transfer low = transfer(c.low_us + c.hop_us * hops + kLowMessages * doublings,
                                hosts > 1 ? std::min(c.low_share, kLowShareBetweenHosts) : c.low_share);
  const Transfer bulk = transfer(c.bulk_us + c.bulk_hop_us * hops + kBulkMessages * doublings, 1);
  return low.seconds_alone(links_) <= bulk.seconds_alone(links_) ? low : bulk;
}

Transfer Topology::collective(CollectiveOp op, double bytes, std::span<const int> ranks) {
  if (ranks.size() < 2 || bytes <= 0) return {};
  const double times = op == CollectiveOp::kAllReduce ? 2 : 1;
  std::map<int, std::vector<int>> by_host;
  for (const int rank : ranks) by_host[host_of(rank)].push_back(rank);
  const auto hosts = static_cast<double>(by_host.size());
  const double hops = static_cast<double>(ranks.size()) / hosts - 2;
  const bool can_sum = op == CollectiveOp::kAllReduce;
  if (by_host.size() == 1) {
    const Transfer around = two_protocols(bytes, hops, 1, ring(ranks, times));
    if (!can_sum || !sums_in_switch(ranks)) return around;
    Transfer summed{.latency_s = (profile_.collective.bulk_us + profile_.collective.bulk_hop_us * hops) * 1e-6,
                    .bytes = bytes,
                    .uses = {}};
    for (const auto& [resource, weight] : in_switch(ranks, times)) summed.uses.push_back({resource, weight});
    return summed.seconds_alone(links_) < around.seconds_alone(links_) ? summed : around;
  }
  Load inside, between;
  std::vector<std::vector<int>> members;
  for (const auto& [host, ranks_of_host] : by_host) {
    members.push_back(ranks_of_host);
    inside.merge(can_sum && sums_in_switch(ranks_of_host) ? in_switch(ranks_of_host, times)
                                                          : ring(ranks_of_host, times));
  }
  for (size_t h = 0; h < members.size(); ++h) {
    const auto &from = members[h], &to = members[(h + 1) % members.size()];
    const double share = times * (hosts - 1) / hosts / static_cast<double>(from.size());
    for (size_t i = 0; i < from.size(); ++i)
      hop(from[i], to[i % to.size()], share / profile_.collective.network_efficiency, between);
  }
  // Both levels are under way at once; a link that both cross does so at different times.
  const double in_s = seconds_a_byte(inside), out_s = seconds_a_byte(between), slowest = std::max(in_s, out_s);
  const double longer = slowest > 0 ? 1 + kLevelOverlap * (in_s + out_s - slowest) / slowest : 1;
  Load load = inside;
  for (const auto& [resource, weight] : between) load[resource] = std::max(load[resource], weight);
  for (auto& [resource, weight] : load) weight *= longer;
  return two_protocols(bytes, std::max(0.0, hops), hosts, load);
}

Transfer Topology::message(double bytes, int from, int to) {
  if (from == to || bytes <= 0) return {};
  Load load;
  hop(from, to, 1, load);
  // A send goes one way where a collective of two goes twice.
  Transfer transfer = two_protocols(bytes, 0, host_of(from) == host_of(to) ? 1 : 2, load);
  transfer.latency_s /= 2;
  return transfer;
}

}  // namespace trine
