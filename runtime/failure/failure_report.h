// The one message about a rank that was lost, or about ranks that wait for ever: who, where, waiting for what.
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "runtime/failure/rank_status.h"

namespace trine {

struct Failure {
  ExitCode code = ExitCode::kPeerLost;  // or kHang
  int culprit = -1;                     // the rank to look at; -1: they wait for each other, or nobody knows
  std::string message;                  // the culprit first, then a line for each rank
};

// Finds the culprit: a rank that died, else one that is stopped, else the end of the chain of waits that begins at
// `reporter`: a rank that waits for nobody, or one that is there no more. `ranks`: of read_all_status; `error`: the
// HangError or PeerLostError that the reporter got, or nullptr; `now_ns`: of CLOCK_MONOTONIC.
Failure diagnose(const std::vector<RankStatus>& ranks, int reporter, const Error* error, int64_t now_ns);

// Ends the run's story on this rank: prints why on stderr and adds it to the log, unless another rank has done so,
// and returns the exit code to end with. `error`: what was thrown; nullptr: a peer was seen to die. A HangError, a
// PeerLostError and nullptr are told by diagnose(), and the lowest rank of a host is given the time to be first;
// any other error speaks for itself.
//
// To be called where the error is caught close to where it was thrown, and then the process ends at once
// (MpiSession::abort): lanes and sends that are joined while the stack unwinds may take as
// long as their own timeouts.
ExitCode report_failure(StatusWriter& own, const std::exception* error);

}  // namespace trine
