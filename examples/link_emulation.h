// --emulate-links: how much slower than the cluster's devices this machine's cores are.
#pragma once

#include "cluster/profile.h"
#include "plan/plan.h"
#include "runtime/job/connection.h"

namespace trine {

// The cluster that --emulate-links names. ConfigError for one of CPUs.
Profile emulated_cluster(const Config& config);

// What dry runs predict kernels with: --cluster, else measured.json, if it is of this machine, else ops that are measured
// in a few seconds; then what threads and exchanges take is a guess. ConfigError, DataError.
Profile emulating_cores(const Plan& plan, int cores);

struct Dilation {
  double factor = 1;
  std::string source;  // "--dilation", "measured.json", "measured just now"
};
// Found by the first rank: as --dilation says, else from the ops of measured.json, if it is of this machine, else of
// ops measured in a few seconds. Collective. ConfigError, DataError.
Dilation find_dilation(const Plan& plan, const Profile& cluster, const Connection& connection, int ranks_on_host,
                       int cores);

}  // namespace trine
