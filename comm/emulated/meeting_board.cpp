#include "comm/emulated/meeting_board.h"

#include <climits>
#include <ctime>
#include <fmt/core.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace trine {
namespace {

constexpr long kNapNs = 100'000'000;  // between two looks whether all has failed

using Counter = std::atomic<uint32_t>;
static_assert(sizeof(Counter) == sizeof(uint32_t) && Counter::is_always_lock_free);

// Until the counter is another number, or for a while.
void wait_while(Counter& counter, uint32_t number) {
  const timespec nap{.tv_sec = 0, .tv_nsec = kNapNs};
  ::syscall(SYS_futex, &counter, FUTEX_WAIT, number, &nap, nullptr, 0);
}

void wake_all(Counter& counter) { ::syscall(SYS_futex, &counter, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

// A line of the cache each: groups do not disturb each other. Zeros are an empty one.
struct alignas(64) MeetingBoard::Slot {
  std::atomic<int64_t> latest_ns;
  Counter num_ready;
};

size_t MeetingBoard::num_bytes(int num_channels, int num_ranks) {
  return static_cast<size_t>(num_channels) * kSlots * sizeof(Slot) + static_cast<size_t>(num_ranks);
}

MeetingBoard::MeetingBoard(std::shared_ptr<std::byte> memory, int num_channels, int rank)
    : memory_(std::move(memory)),
      num_channels_(num_channels),
      rank_(rank),
      met_(static_cast<size_t>(num_channels)) {}

MeetingBoard::~MeetingBoard() { gone(rank_).store(1, std::memory_order_release); }

MeetingBoard::Slot& MeetingBoard::slot(int channel, uint64_t number) const {
  return reinterpret_cast<Slot*>(memory_.get())[static_cast<uint64_t>(channel) * kSlots + number % kSlots];
}

// Behind all slots, a byte for each rank.
std::atomic<uint8_t>& MeetingBoard::gone(int rank) const {
  return reinterpret_cast<std::atomic<uint8_t>*>(&slot(num_channels_, 0))[rank];
}

void MeetingBoard::check_ranks(std::span<const int> ranks) const {
  for (const int rank : ranks)
    if (gone(rank).load(std::memory_order_acquire) != 0)
      throw PeerLostError(fmt::format(
          "[comm] rank {} waits for rank {}, which has ended. Look at what that rank says.", rank_, rank));
}

// A rank that comes to meeting n has left n - 1, so everybody has come to n - 1 and left n - 2: whoever is the last
// to come to n clears the slot of n + 2, which is that of n - 2. Nobody is there before that rank comes to n + 1.
int64_t MeetingBoard::meet(int channel, std::span<const int> members, int64_t ready_ns,
                           const std::function<void()>& check) {
  const uint64_t number = met_[static_cast<size_t>(channel)]++;
  Slot& own = slot(channel, number);
  int64_t latest = own.latest_ns.load();
  while (latest < ready_ns && !own.latest_ns.compare_exchange_weak(latest, ready_ns)) {
  }
  const auto wanted = static_cast<uint32_t>(members.size());
  if (own.num_ready.fetch_add(1) + 1 == wanted) {
    Slot& later = slot(channel, number + 2);
    later.latest_ns.store(0);
    later.num_ready.store(0);
    wake_all(own.num_ready);
    return own.latest_ns.load();
  }
  for (uint32_t seen = own.num_ready.load(); seen != wanted; seen = own.num_ready.load()) {
    check();
    check_ranks(members);
    wait_while(own.num_ready, seen);
  }
  return own.latest_ns.load();
}

}  // namespace trine
