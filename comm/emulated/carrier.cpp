#include "comm/emulated/carrier.h"

#include <cmath>

namespace trine {

Carrier::Carrier(CommWorld& world, const LinkModel& links)
    : timeout_(world[Group::kWorld].timeout()),
      meetings_(world),
      table_(share_memory(world[Group::kWorld], FlowTable::num_bytes()), links),
      carried_(static_cast<size_t>(meetings_.num_channels())) {}

int64_t Carrier::carry(const Meetings::Place& place, const EmulatedTransfer& transfer, int64_t ready_ns,
                       const std::function<void()>& check) {
  const int64_t begin_ns = meetings_.last_ready_ns(place, ready_ns, check);
  const int64_t latency_ns = std::llround(transfer.latency_s * 1e9);
  if (transfer.uses.empty()) return begin_ns + latency_ns;
  const uint64_t number = ++carried_[static_cast<size_t>(place.channel)];
  return table_.run({.key = static_cast<uint64_t>(place.channel) << 40 | number,
                     .members = static_cast<int>(place.ranks.size()),
                     .begin_ns = begin_ns,
                     .bytes = transfer.bytes,
                     .uses = transfer.uses,
                     .latency_ns = latency_ns},
                    timeout_, check);
}

}  // namespace trine
