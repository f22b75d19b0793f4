// How far the ranks' clocks are apart, so that their traces can be laid side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/communicator.h"

namespace trine {

// What a rank reads its time from.
struct RankClock {
  std::function<int64_t()> now_ns;
  // Ranks with the same identity read the same clock, unless it is empty. At most 127 characters.
  std::string identity;
};

// now_ns(), which all processes of one boot of a host share that are in the same time namespace.
RankClock host_clock();

// Ranks that read rank 0's clock get exactly zero. Of each other clock the first rank asks rank 0, and those that
// read the same one get the same offset: a measurement among ranks of one host would only add its error.
//
// Cristian's algorithm (Cristian 1989, "Probabilistic clock synchronization"): a rank asks rank 0 for its time,
// `num_rounds` times; the quickest answer counts, taken to be of the middle between question and answer, which is
// wrong by half of the round trip at most. An offset that is no larger than this error is no offset: zero, with an
// error that covers it. Collective over `group`; every rank gets the offsets of all.
//
// Clocks also drift, by some microseconds per second: comm/clock_alignment.h keeps up with them.
struct MeasuredClocks {
  std::vector<ClockOffset> offsets;  // by rank
  std::vector<int> clock_of;         // by rank, the first one that reads the same clock
};
MeasuredClocks align_clocks(Communicator& group, const RankClock& clock = host_clock(), int num_rounds = 32);

}  // namespace trine
