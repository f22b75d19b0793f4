// What collectives and pipeline messages take between the ranks of this job, as a step makes them: through a lane's
// thread, after its rank has computed for a while.
#pragma once

#include <vector>

#include "cluster/cpu_profile.h"
#include "comm/communicator.h"

namespace trine {

struct LaneTimes {
  double wake_us = 0;  // until a lane's thread has run an empty operation, and its rank goes on
  double post_us = 0;  // until a message is posted
};

// Collective over the group, whose collectives nobody else makes meanwhile. `rounds` of each size and kind.
LaneTimes measure_lane(Communicator& group, int rounds);
// Four kinds, six sizes. All ranks get the same.
std::vector<CpuTransferCost> measure_collectives(Communicator& group, int hosts, const LaneTimes& lane, int rounds);
// From rank to rank and back, in pairs of neighbours, all pairs at once; of the pair of rank 0. Ranks wait as a
// pipeline rank waits for its message.
CpuTransferCost measure_messages(Communicator& group, int hosts, int rounds);
// Of the same all_reduce each time, to see whether it stays what it was.
double fixed_exchange_us(Communicator& group);

}  // namespace trine
