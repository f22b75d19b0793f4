// How far the ranks' clocks are apart, so that their traces can be laid side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"

namespace trine {

struct ClockOffset {
  int64_t offset_ns = 0;  // to be added to this rank's clock for rank 0's
  int64_t error_ns = 0;   // the offset is right within this much, at the time it was measured
};

// Cristian's algorithm (Cristian 1989, "Probabilistic clock synchronization"): each rank in turn asks rank 0 for
// its time, `num_rounds` times; the quickest answer counts, taken to be of the middle between question and answer,
// which is wrong by half of the round trip at most. Collective over `group`; every rank gets the offsets of all.
//
// `now_ns` reads this rank's clock (default: steady_clock). Clocks also drift, by some microseconds per second:
// measure again before each trace that is written.
std::vector<ClockOffset> align_clocks(Communicator& group, const std::function<int64_t()>& now_ns = {},
                                      int num_rounds = 32);

}  // namespace trine
