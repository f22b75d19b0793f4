// What a rank of a rehearsal is told of its device and links (runtime/device/rehearsal): the costs that the simulator
// takes for the same plan on the same cluster.
#pragma once

#include <memory>

#include "base/modelled_device.h"
#include "cluster/profile.h"
#include "plan/plan.h"

namespace trine {

// The cluster that --cluster and --set name for --device rehearsal. ConfigError, DataError: as load_profile(), and for
// one of CPUs, whose kernels can run as they are.
Profile rehearsed_cluster(const Config& config);

// ConfigError if --speed-up makes kernels so short, in the mean, that this machine may not keep up.
void check_speed_up(const Plan& plan, const Profile& profile);

// With --slow, --jitter and --speed-up. `plan` and `profile` outlive what is returned, which is one rank's: not for two threads
// at once. ConfigError for a --slow that cannot be.
ModelledDevice rehearsed_device(const Plan& plan, const Profile& profile, int rank);

}  // namespace trine
