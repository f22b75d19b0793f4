#include "runtime/device/devices.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "runtime/device/link_times.h"
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

struct Failure {
  bool failed = false;
  char text[256] = {};
};

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

// NCCL's groups; null with the reason, the same on all ranks, if they cannot be had on some. A rank that waits for
// others in vain throws.
std::unique_ptr<DeviceWorld> try_nccl(const Config& config, CommWorld& world, bool peer_to_peer,
                                      std::string& why_not) {
  std::unique_ptr<DeviceWorld> nccl;
  Failure own;
  try {
    nccl = make_nccl_world(world, config.vpp > 1, peer_to_peer, config.timeout());
  } catch (const Error& error) {
    if (error.code() == ExitCode::kHang || error.code() == ExitCode::kPeerLost) throw;
    own.failed = true;
    std::string(error.what()).copy(own.text, sizeof own.text - 1);
  }
  for (const Failure& of_rank : gather_all(&world[Group::kWorld], own))
    if (of_rank.failed) {
      why_not = of_rank.text;
      return nullptr;
    }
  return nccl;
}

void say(const LinkChoice& choice, const std::string& nccl, Log& log) {
  const std::string way = !choice.nccl          ? "mpi, staged through pinned host memory"
                          : choice.peer_to_peer ? nccl
                                                : nccl + " through the host's memory (NCCL_P2P_DISABLE=1)";
  log.info(fmt::format("comm   {}: {}", way, choice.reason));
}

}  // namespace

std::unique_ptr<DeviceWorld> connect_devices(const Config& config, const StepWork& step, Backend& backend,
                                             CommWorld& world, Log& log) {
  if (config.device == DeviceKind::kCpu || world.mesh().num_ranks() == 1) return nullptr;
  Communicator& all = world[Group::kWorld];
  const std::vector<std::string> hosts = gather_names(&all, ProcessIdentity::own().host);
  const std::vector<std::string> identities = gather_names(&all, backend.identity());
  // All ranks must find NCCL: what one lacks, none uses.
  std::string version = nccl_version();
  for (const std::string& of_rank : gather_names(&all, version))
    if (of_rank.empty()) version.clear();
  const bool one_each = std::set<std::string>(identities.begin(), identities.end()).size() == identities.size();
  std::vector<PeerLink> links;
  if (config.comm != CommKind::kMpi && one_each && !version.empty())
    links = test_links(config, identities, hosts, world);
  LinkChoice choice = alike([&] { return choose_links(config.comm, identities, version, links); });
  for (const PeerLink& link : links)
    if (link.tested)
      log.info(fmt::format("link   GPU {} -> {}: {}, {:.1f} us, {}", link.from, link.to, speed(link.bytes_per_s),
                           link.latency_s * 1e6, link.access ? "peer access" : "through the host"));
  std::unique_ptr<DeviceWorld> nccl;
  if (choice.nccl && config.comm == CommKind::kNccl) {
    nccl = make_nccl_world(world, config.vpp > 1, choice.peer_to_peer, config.timeout());
  } else if (choice.nccl) {
    std::string why_not;
    nccl = try_nccl(config, world, choice.peer_to_peer, why_not);
    if (nccl) {
      const std::vector<RunMessage> messages = messages_of(step, world);
      choice = choose_faster(choice, messages, message_timer(backend, world, nccl.get(), config.timeout()),
                             message_timer(backend, world, nullptr, config.timeout()));
      if (!choice.nccl) nccl.reset();
    } else {
      choice = {.nccl = false, .reason = "NCCL does not start: " + why_not};
    }
  }
  say(choice, version, log);
  return nccl;
}

}  // namespace trine
