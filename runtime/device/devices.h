// Which device a rank runs on, and how the devices of a job talk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/device_group.h"
#include "plan/config/config.h"
#include "runtime/device/backend.h"
#include "runtime/job/log.h"

namespace trine {

// ConfigError unless this machine has the device that the configuration wishes. Touches no device, and no other
// rank.
void check_device(DeviceKind device);

// This rank's backend. The ranks of a host share out its GPUs in their order, several to one if they are more.
// Collective over `world` (nullptr: one rank). ConfigError, OutOfMemoryError, agreed (runtime/job/agreement.h).
std::unique_ptr<Backend> make_backend(DeviceKind device, int threads, Communicator* world,
                                      const KernelOptions& options = {});

// What one GPU found of the link to another.
struct PeerLink {
  int from = 0, to = 0;  // in the list that was asked for
  bool tested = false;   // false: this process does not see both
  bool access = false;   // each reads the other's memory by itself
  bool data_right = false;
  double bytes_per_s = 0, latency_s = 0;  // of copies of 64 MiB and 4 bytes
};
// Tries each GPU's link to the next one, in a ring; named by Backend::identity(). Unless `keep_contexts`, this
// process leaves nothing on GPUs other than its own.
std::vector<PeerLink> test_peer_links(const std::vector<std::string>& identities, bool keep_contexts);

// How collectives and pipeline messages travel, and why.
struct LinkChoice {
  bool nccl = false;
  std::string reason;
};
// From what is known of all ranks: `identities` and `hosts` by rank; `links`: of all hosts. ConfigError if the wish
// can not be.
LinkChoice choose_links(CommKind wish, const std::vector<std::string>& identities, const std::string& nccl_version,
                        const std::vector<PeerLink>& links);

// Prepares `backend`'s ranks to talk, as the configuration wishes and the machine allows, and says so in the log.
// nullptr: through the host. Collective.
std::unique_ptr<DeviceWorld> connect_devices(const Config& config, const Backend& backend, CommWorld& world,
                                             Log& log);

}  // namespace trine
