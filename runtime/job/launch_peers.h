// The other ranks of this host as the launcher started them, found among the host's processes: what can be known of
// them before anybody talks.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/launch.h"
#include "runtime/failure/process_state.h"

namespace trine {

struct LaunchPeer {
  int rank = 0;
  ProcessIdentity process;
  ProcessState state = ProcessState::kRunning;
};

// Processes of the same program, started by the same launcher, this one too; by rank. Those that hide their
// environment are left out.
std::vector<LaunchPeer> launch_peers(const Launch& launch);

// Ranks have waited in `what` for `waited`, longer by `overdue` than they may: whose fault is it? A rank of this
// host that is stopped is told at once, anything else a minute later: until then a rank may only be late. Prints
// the one message of this host, by its lowest rank that runs, and returns the code to end with; nothing: wait on.
std::optional<ExitCode> judge_late_start(const Launch& launch, const std::string& what,
                                         std::chrono::duration<double> waited,
                                         std::chrono::duration<double> overdue);

// The same for the HangError or PeerLostError of a wait whose time is up.
ExitCode report_late_start(const Launch& launch, const Error& error);

}  // namespace trine
