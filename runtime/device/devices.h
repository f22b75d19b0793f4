// Which device a rank runs on, and how the devices of a job talk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/device_group.h"
#include "plan/config/config.h"
#include "plan/step_work.h"
#include "runtime/device/backend.h"
#include "runtime/device/link_choice.h"
#include "runtime/job/log.h"

namespace trine {

// ConfigError unless this machine has the device that the configuration wishes.
// Touches no device, and no other rank.
void check_device(DeviceKind device);

// This rank's backend. The ranks of a host share out its GPUs in their order, several to one if they are more.
// Collective over `world` (nullptr: one rank). ConfigError, OutOfMemoryError, agreed (runtime/job/agreement.h).
std::unique_ptr<Backend> make_backend(DeviceKind device, int threads, Communicator* world,
                                      const KernelOptions& options = {});

// Tries each GPU's link to the next one, in a ring; named by Backend::identity(). Unless `keep_contexts`, this
// process leaves nothing on GPUs other than its own.
std::vector<PeerLink> test_peer_links(const std::vector<std::string>& identities, bool keep_contexts);

// Prepares `backend`'s ranks to talk, as the configuration wishes and the machine allows, and says so in the log:
// by `auto`, NCCL and staging are both tried with messages as large as those of `step`.
// nullptr: through the host. Collective.
std::unique_ptr<DeviceWorld> connect_devices(const Config& config, const StepWork& step, Backend& backend,
                                             CommWorld& world, Log& log);

}  // namespace trine
