// Carries transfers over links that are not there: their ranks meet, and the transfer ends when the links' shares say so
// (meetings.h, flow_table.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/emulated_links.h"
#include "comm/emulated/flow_table.h"
#include "comm/emulated/meetings.h"
#include "comm/world.h"

namespace trine {

class Carrier {
 public:
  // Collective; ConfigError if the ranks are on several hosts. `links` are the same for all.
  Carrier(CommWorld& world, const LinkModel& links);

  // A transfer of that place, for which this rank is ready at `ready_ns` (now_ns()), which may lie ahead: returns when
  // it has ended, and that time. One that uses no link ends after its latency; then the return is at once when all
  // are there, and the end may lie ahead. `check` is called now and then and may throw. HangError, PeerLostError.
  int64_t carry(const Meetings::Place& place, const EmulatedTransfer& transfer, int64_t ready_ns,
                const std::function<void()>& check);

  const Meetings& meetings() const { return meetings_; }
  int64_t last_progress_ns() const { return table_.last_progress_ns(); }

 private:
  const std::chrono::milliseconds timeout_;
  Meetings meetings_;
  FlowTable table_;
  std::vector<uint64_t> carried_;  // by channel, each touched by one thread
};

}  // namespace trine
