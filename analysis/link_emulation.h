// The links of a cluster for a run on CPUs (--emulate-links): as slow, against these CPUs' compute, as they are against
// the cluster's devices.
#pragma once

#include "base/emulated_links.h"
#include "cluster/profile.h"
#include "plan/plan.h"

namespace trine {

// Of one rank; all ranks get the same links, in the same order. `profile`: of GPUs.
EmulatedLinks emulated_links(const Plan& plan, const Profile& profile, double dilation, int rank);

// How many times longer the kernels of a step of this plan take on CPUs than on the profile's devices, without
// launches and the time of hosts. `cpu`: what these CPUs' ops take (measure_cluster). Where ranks outnumber `cores`,
// they take turns.
double dilation_of(const Plan& plan, const CpuProfile& cpu, const Profile& profile, int ranks_on_host, int cores);

}  // namespace trine
