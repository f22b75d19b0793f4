// Ranks as threads of one process: for tests, sanitizers and teaching, without mpirun.
#pragma once

#include <functional>

#include "comm/transport.h"

namespace trine {

// Runs program(fabric) in one thread for each of `num_ranks` ranks and returns when all have ended. A message is
// copied straight from the sender's buffer into the receiver's, by whichever of the two waits for it first; a send
// waits for its receive, however small (a schedule that needs buffering hangs here).
//
// If a rank throws, every wait of the others throws PeerLostError, and the first exception is thrown here once all
// threads have ended. Waiting for a rank that has returned throws PeerLostError too. Nothing spins.
void run_local_ranks(int num_ranks, const std::function<void(Fabric&)>& program);

}  // namespace trine
