// How far clocks are apart, from times that messages carry anyway. No message of its own measures anything.
//
// A message that leaves one rank at `sent` of its clock and is there at `arrived` of the other's cannot have come
// before it left: the receiver's clock is ahead by at most arrived - sent. Messages in both directions give both
// bounds. What a message took makes a bound loose and never wrong, so the tightest counts: the lower envelope
// (Paxson 1998, "On calibrating measurements of packet transit times"). Clocks drift, so a bound of before is
// widened by what they can have drifted since.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/clock.h"

namespace trine {

// Two clocks move apart by no more: crystals err by up to 50 ppm, each. Where a time service slews a clock faster (NTP
// after an outage: 500 ppm and more), old bounds may be wrong by what it moved too far, until newer ones contradict
// them.
inline constexpr int64_t kMaxDriftPpm = 100;

// "to's clock is ahead of from's by at most ahead_ns".
struct ClockBound {
  static constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max() / 4;
  int32_t from = 0, to = 0;  // ranks
  int64_t ahead_ns = kUnknown;

  bool known() const { return ahead_ns < kUnknown; }
  void message(int64_t sent_ns, int64_t arrived_ns) {
    if (arrived_ns - sent_ns < ahead_ns) ahead_ns = arrived_ns - sent_ns;
  }
};

// All ranks' offsets to rank 0, from step to step. Pure arithmetic: ranks that see the same bounds know the same.
class ClockTracker {
 public:
  // What a measurement at `now_ns` found, by rank; `clock_of` names for each rank the first one that reads the same
  // clock. `now_ns`, here and below, is of rank 0's clock.
  ClockTracker(std::vector<ClockOffset> measured, std::vector<int> clock_of, int64_t now_ns);

  bool one_clock() const { return num_clocks_ <= 1; }
  const std::vector<int>& clock_of() const { return clock_of_; }
  // The bounds that messages gave since the last update, of any pairs of ranks, in any order. Each clock's offset
  // becomes the middle of what they allow along any path to rank 0 (shortest paths over the bounds), together with
  // what was known before, widened by kMaxDriftPpm. Bounds that contradict what was known (a clock was set, a
  // machine was moved) replace it.
  void update(std::span<const ClockBound> bounds, int64_t now_ns);
  // The middle, right within error_ns. Those of rank 0's clock are exactly zero.
  const std::vector<ClockOffset>& offsets() const { return offsets_; }

 private:
  // What is added to a clock for rank 0's lies within.
  struct Interval {
    int64_t low_ns, high_ns;
  };
  std::vector<Interval> paths(std::span<const ClockBound> bounds) const;
  void set_offsets();

  std::vector<int> clock_of_;
  int num_clocks_ = 0;
  std::vector<Interval> known_;  // by rank; of ranks with the same clock only the first's counts
  std::vector<ClockOffset> offsets_;
  int64_t updated_ns_;
};

}  // namespace trine
