#include "runtime/device/devices.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "runtime/failure/process_state.h"
#include "runtime/job/agreement.h"

namespace trine {
namespace {

struct Name {
  char text[256] = {};
};

std::vector<std::string> gather_names(Communicator* world, const std::string& own) {
  Name name;
  own.copy(name.text, sizeof name.text - 1);
  std::vector<std::string> all;
  for (const Name& of_rank : gather_all(world, name)) all.emplace_back(of_rank.text);
  return all;
}

std::string speed(double bytes_per_s) { return fmt::format("{:.1f} GB/s", bytes_per_s * 1e-9); }

}  // namespace

void check_device(DeviceKind device) {
  if (device == DeviceKind::kCuda) find_cuda_devices();
}

std::unique_ptr<Backend> make_backend(DeviceKind device, int threads, Communicator* world,
                                      const KernelOptions& options) {
  std::vector<std::string> hosts;
  if (device == DeviceKind::kCuda) hosts = gather_names(world, ProcessIdentity::own().host);
  std::unique_ptr<Backend> backend;
  run_agreed(world, [&] {
    if (device == DeviceKind::kCpu) {
      backend = make_cpu_backend(threads);
      return;
    }
    const int rank = world ? world->rank() : 0;
    const auto local_rank = std::count(hosts.begin(), hosts.begin() + rank, hosts[static_cast<size_t>(rank)]);
    backend = make_cuda_backend(static_cast<int>(local_rank) % find_cuda_devices(), options);
  });
  return backend;
}

LinkChoice choose_links(CommKind wish, const std::vector<std::string>& identities, const std::string& nccl_version,
                        const std::vector<PeerLink>& links) {
  std::map<std::string, size_t> first_on;
  std::string shared;
  for (size_t rank = 0; rank < identities.size() && shared.empty(); ++rank)
    if (const auto [other, added] = first_on.emplace(identities[rank], rank); !added)
      shared = fmt::format("ranks {} and {} share a GPU", other->second, rank);
  if (wish == CommKind::kMpi) return {false, "--comm mpi"};
  if (wish == CommKind::kNccl) {
    if (!shared.empty())
      throw ConfigError(
          fmt::format("[comm] --comm nccl, but {}. Start as many ranks as there are GPUs, or take "
                      "--comm mpi.",
                      shared));
    if (nccl_version.empty())
      throw ConfigError("[comm] --comm nccl, but there is no NCCL. Install libnccl2, or take --comm mpi.");
    return {true, "--comm nccl"};
  }
  if (!shared.empty()) return {false, shared};
  if (nccl_version.empty()) return {false, "there is no NCCL"};
  std::string untested;
  double slowest = 0, latency = 0;
  for (const PeerLink& link : links) {
    const std::string pair = fmt::format("GPUs {} and {}", link.from, link.to);
    if (!link.tested) {
      untested = fmt::format("{} are not seen by one process, so their link is not tested", pair);
      continue;
    }
    if (!link.access) return {false, pair + " can not reach each other's memory"};
    if (!link.data_right) return {false, pair + " claim to reach each other's memory, but data came out wrong"};
    slowest = slowest == 0 ? link.bytes_per_s : std::min(slowest, link.bytes_per_s);
    latency = std::max(latency, link.latency_s);
  }
  if (!untested.empty()) return {true, untested};
  if (links.empty()) return {true, "no two GPUs are on one host"};
  return {true, fmt::format("peer access works with right data, at least {}, at most {:.1f} us", speed(slowest),
                            latency * 1e6)};
}

namespace {

// The first rank of each host tries the links of its GPUs; every rank gets the links of all hosts.
std::vector<PeerLink> test_links(const Config& config, const std::vector<std::string>& identities,
                                 const std::vector<std::string>& hosts, CommWorld& world) {
  Communicator& all = world[Group::kWorld];
  const std::string& own_host = hosts[static_cast<size_t>(all.rank())];
  std::vector<std::string> here;
  for (size_t rank = 0; rank < hosts.size(); ++rank)
    if (hosts[rank] == own_host) here.push_back(identities[rank]);
  const bool first = std::find(hosts.begin(), hosts.end(), own_host) - hosts.begin() == all.rank();
  constexpr size_t kMaxLinks = 32;
  struct Found {
    size_t count = 0;
    PeerLink links[kMaxLinks];
  };
  Found own;
  run_agreed(&all, [&] {
    if (!first) return;
    for (const PeerLink& link : test_peer_links(here, config.local_ranks > 1))
      if (own.count < kMaxLinks) own.links[own.count++] = link;
  });
  std::vector<PeerLink> links;
  for (const Found& found : gather_all(&all, own))
    links.insert(links.end(), found.links, found.links + found.count);
  return links;
}

}  // namespace

std::unique_ptr<DeviceWorld> connect_devices(const Config& config, const Backend& backend, CommWorld& world,
                                             Log& log) {
  if (config.device == DeviceKind::kCpu || world.mesh().num_ranks() == 1) return nullptr;
  Communicator& all = world[Group::kWorld];
  const std::vector<std::string> hosts = gather_names(&all, ProcessIdentity::own().host);
  const std::vector<std::string> identities = gather_names(&all, backend.identity());
  // All ranks must find NCCL: what one lacks, none uses.
  std::string nccl = nccl_version();
  for (const std::string& of_rank : gather_names(&all, nccl))
    if (of_rank.empty()) nccl.clear();
  const bool one_each = std::set<std::string>(identities.begin(), identities.end()).size() == identities.size();
  std::vector<PeerLink> links;
  if (config.comm == CommKind::kAuto && one_each && !nccl.empty())
    links = test_links(config, identities, hosts, world);
  const LinkChoice choice = alike([&] { return choose_links(config.comm, identities, nccl, links); });
  for (const PeerLink& link : links)
    if (link.tested)
      log.info(fmt::format("link   GPU {} -> {}: {}, {:.1f} us, {}", link.from, link.to, speed(link.bytes_per_s),
                           link.latency_s * 1e6, link.access ? "peer access" : "through the host"));
  log.info(
      fmt::format("comm   {}: {}", choice.nccl ? nccl : "mpi, staged through pinned host memory", choice.reason));
  if (!choice.nccl) return nullptr;
  return make_nccl_world(world, config.vpp > 1, config.timeout());
}

}  // namespace trine
