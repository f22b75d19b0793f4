// The offsets of the ranks' clocks while they train: measured at the start, then kept by the times that the messages
// at a step's end carry. Nobody waits for that.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "comm/clock.h"
#include "comm/clock_bounds.h"
#include "comm/world.h"

namespace trine {

class ClockAlignment {
 public:
  // All ranks read one clock.
  ClockAlignment() = default;
  // Measures (align_clocks). Collective over the world, which outlives this.
  explicit ClockAlignment(CommWorld& world, RankClock clock = host_clock());

  // This rank's clock, and how far it is from rank 0's.
  int64_t now_ns() const { return clock_.now_ns ? clock_.now_ns() : trine::now_ns(); }
  const ClockOffset& own() const { return own_; }

  // Then nobody needs to say when a message left.
  bool one_clock() const { return !tracker_; }

  // A message of another member of `group` (tp, dp or pp) that left at `sent_ns` of the sender's clock has arrived:
  // now, or earlier. Each group's calls come from one thread, and none during realign().
  void arrived(Group group, int member, int64_t sent_ns);

  // Once in a step: tells all ranks what the messages showed, and from that everybody's offset follows anew, right
  // within its error now. Collective over the world; nothing is sent where all ranks read one clock.
  void realign();

 private:
  std::vector<ClockBound> gather_bounds(int64_t& now_ns);

  CommWorld* world_ = nullptr;
  RankClock clock_;
  std::optional<ClockTracker> tracker_;  // none: one clock
  // By axis (kAxes) and member of its group: how far this rank's clock is ahead of that member's at most.
  std::array<std::vector<int64_t>, 3> ahead_ns_;
  ClockOffset own_;
};

}  // namespace trine
