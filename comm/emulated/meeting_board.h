// Where the ranks of a host tell each other when they are ready, threads or processes: in memory that they share, so
// that who comes last wakes the others and nobody else wakes up meanwhile. The times may lie ahead of the clock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace trine {

class MeetingBoard {
 public:
  static size_t num_bytes(int num_channels, int num_ranks);

  // Views zeroed shared memory (share_memory() in flow_table.h) as this rank does.
  MeetingBoard(std::shared_ptr<std::byte> memory, int num_channels, int rank);
  // The others learn that this rank comes to no more meetings.
  ~MeetingBoard();
  MeetingBoard(const MeetingBoard&) = delete;
  MeetingBoard& operator=(const MeetingBoard&) = delete;

  // On a channel the same ranks meet again and again, each from one thread. Says when this rank is ready and
  // returns, once all have said it, the latest of these times. While it waits, `check` is called now and then and
  // may throw. PeerLostError if one of them has left the board.
  int64_t meet(int channel, std::span<const int> members, int64_t ready_ns, const std::function<void()>& check);

 private:
  struct Slot;
  static constexpr int kSlots = 4;  // of a channel: see meet()

  Slot& slot(int channel, uint64_t number) const;
  std::atomic<uint8_t>& gone(int rank) const;
  void check_ranks(std::span<const int> ranks) const;

  std::shared_ptr<std::byte> memory_;
  const int num_channels_, rank_;
  std::vector<uint64_t> met_;  // by channel: how often
};

}  // namespace trine
