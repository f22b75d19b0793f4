#include "comm/emulated/flow_table.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <new>
#include <random>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "comm/emulated/host_mutex.h"

namespace trine {
namespace {

constexpr const char* kName = "the table of emulated links";
constexpr size_t kSlots = 512;
constexpr int64_t kNapNs = 20'000'000;  // between two looks whether all has failed

// The system rounds a sleep up by 50 us unless a thread asks for better.
void want_short_sleeps() {
  thread_local const bool asked = ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0;
  static_cast<void>(asked);
}

}  // namespace

struct FlowTable::Slot {
  enum State : int32_t { kFree, kActive, kEnded };
  int32_t state = kFree;
  int32_t members = 0;  // that have not left
  TransferKey key = 0;
  double left = 0;  // bytes, at the table's time
  double rate = 0;
  int64_t end_ns = 0;
  int32_t num_uses = 0;
  LinkUse uses[kMostUses];
};

// Every change leaves it usable at each moment: a rank may die in the middle of one.
struct FlowTable::Table {
  std::atomic<uint32_t> state;  // 0: nobody has made it, 1: somebody does, 2: it is there
  HostMutex mutex;
  std::atomic<int64_t> progress_ns;
  int64_t now_ns;
  int32_t num_used;  // slots behind these are free
  Slot slots[kSlots];

  std::span<Slot> used() { return {slots, static_cast<size_t>(num_used)}; }
};

size_t FlowTable::num_bytes() { return sizeof(Table); }

FlowTable::FlowTable(std::shared_ptr<std::byte> memory, LinkModel links)
    : memory_(std::move(memory)), links_(std::move(links)), table_(reinterpret_cast<Table*>(memory_.get())) {
  uint32_t nobody = 0;
  if (table_->state.compare_exchange_strong(nobody, 1)) {
    new (&table_->mutex) HostMutex;
    table_->state = 2;
  }
  while (table_->state != 2) std::this_thread::yield();
}

FlowTable::~FlowTable() = default;

int64_t FlowTable::run(const Transfer& transfer, std::chrono::milliseconds timeout,
                       const std::function<void()>& check) {
  TRINE_CHECK(transfer.uses.size() <= kMostUses, "a transfer uses {} links", transfer.uses.size());
  want_short_sleeps();
  while (now_ns() < transfer.begin_ns) {
    check();
    sleep_until(std::min(transfer.begin_ns, now_ns() + kNapNs));
  }
  size_t mine = 0;
  int64_t end_ns = 0;
  for (bool first = true; end_ns == 0; first = false) {
    int64_t look_again_ns = 0;
    {
      const HostLock lock(table_->mutex, kName, timeout);
      settle(now_ns());
      if (first) mine = static_cast<size_t>(&find_or_begin(transfer) - table_->slots);
      Slot& slot = table_->slots[mine];
      if (slot.state == Slot::kEnded) {
        end_ns = slot.end_ns;
        if (--slot.members == 0) {
          slot.state = Slot::kFree;
          while (table_->num_used > 0 && table_->used().back().state == Slot::kFree) --table_->num_used;
        }
      } else {
        look_again_ns = table_->now_ns + static_cast<int64_t>(predicted_end_s(slot) * 1e9) + 1;
      }
    }
    if (end_ns != 0) break;
    while (now_ns() < look_again_ns) {
      table_->progress_ns = now_ns();
      check();
      sleep_until(std::min(look_again_ns, now_ns() + kNapNs));
    }
  }
  end_ns += transfer.latency_ns;
  while (now_ns() < end_ns) {
    table_->progress_ns = now_ns();
    check();
    sleep_until(std::min(end_ns, now_ns() + kNapNs));
  }
  return end_ns;
}

FlowTable::Slot& FlowTable::find_or_begin(const Transfer& transfer) {
  Slot* free = nullptr;
  for (Slot& slot : table_->used()) {
    if (slot.state != Slot::kFree && slot.key == transfer.key) return slot;
    if (slot.state == Slot::kFree && free == nullptr) free = &slot;
  }
  if (free == nullptr) {
    TRINE_CHECK(table_->num_used < static_cast<int32_t>(kSlots), "{} transfers are under way", kSlots);
    free = &table_->slots[table_->num_used++];
  }
  free->members = transfer.members;
  free->key = transfer.key;
  free->left = std::max(0.0, transfer.bytes);
  free->rate = 0;
  free->num_uses = static_cast<int32_t>(transfer.uses.size());
  std::copy(transfer.uses.begin(), transfer.uses.end(), free->uses);
  free->state = Slot::kActive;
  share();
  // Whoever noticed late that it might begin makes up for that.
  const auto late_s = static_cast<double>(std::max<int64_t>(0, table_->now_ns - transfer.begin_ns)) * 1e-9;
  if (free->rate * late_s < free->left) {
    free->left -= free->rate * late_s;
  } else {
    free->end_ns = transfer.begin_ns + static_cast<int64_t>(free->rate > 0 ? free->left / free->rate * 1e9 : 0);
    free->state = Slot::kEnded;
    share();
  }
  return *free;
}

// Works off all ends until then, in their order.
void FlowTable::settle(int64_t until_ns) {
  const auto advance = [&](int64_t to_ns) {
    const double seconds = static_cast<double>(to_ns - table_->now_ns) * 1e-9;
    for (Slot& slot : table_->used())
      if (slot.state == Slot::kActive) slot.left = std::max(0.0, slot.left - slot.rate * seconds);
    table_->now_ns = to_ns;
  };
  while (table_->now_ns < until_ns) {
    Slot* next = nullptr;
    double in_s = 0;
    for (Slot& slot : table_->used()) {
      if (slot.state != Slot::kActive) continue;
      const double left_s = slot.left / slot.rate;
      if (next == nullptr || left_s < in_s) next = &slot, in_s = left_s;
    }
    if (next == nullptr || in_s > static_cast<double>(until_ns - table_->now_ns) * 1e-9) {
      advance(until_ns);
      return;
    }
    advance(table_->now_ns + static_cast<int64_t>(in_s * 1e9));
    next->end_ns = table_->now_ns;
    next->state = Slot::kEnded;
    share();
  }
}

void FlowTable::share() {
  std::vector<Slot*> active;
  std::vector<std::span<const LinkUse>> uses;
  for (Slot& slot : table_->used())
    if (slot.state == Slot::kActive) {
      active.push_back(&slot);
      uses.emplace_back(slot.uses, static_cast<size_t>(slot.num_uses));
    }
  const std::vector<double> rates = fair_rates(links_, uses);
  for (size_t i = 0; i < active.size(); ++i) active[i]->rate = rates[i];
}

// Seconds from the table's time, if nothing else begins.
double FlowTable::predicted_end_s(const Slot& slot) const {
  ActiveFlows flows(links_);
  ActiveFlows::Id own = 0;
  for (const Slot& other : table_->used()) {
    if (other.state != Slot::kActive) continue;
    const auto id = flows.begin(0, other.left, {other.uses, static_cast<size_t>(other.num_uses)});
    if (&other == &slot) own = id;
  }
  while (true)
    if (const ActiveFlows::End end = flows.end_next(); end.flow == own) return end.at;
}

int64_t FlowTable::last_progress_ns() const { return table_->progress_ns; }

size_t FlowTable::num_active(std::chrono::milliseconds timeout) {
  const HostLock lock(table_->mutex, kName, timeout);
  settle(now_ns());
  return static_cast<size_t>(
      std::ranges::count_if(table_->used(), [](const Slot& slot) { return slot.state == Slot::kActive; }));
}

std::shared_ptr<std::byte> share_memory(Communicator& group, size_t bytes) {
  struct Told {
    uint64_t number = 0;
    int32_t error = 0;  // of the first rank
  };
  const auto path_of = [](const Told& told) { return fmt::format("/trine-links-{:016x}", told.number); };
  const auto fail = [](const char* what, int error) {
    throw DataError(fmt::format("[comm] memory for emulated links cannot be {}: {}. Make room in /dev/shm.", what,
                                std::strerror(error)));
  };
  Told told;
  int fd = -1;
  if (group.rank() == 0) {
    std::random_device random;
    told.number = uint64_t{random()} << 32 | random();
    fd = ::shm_open(path_of(told).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) told.error = errno;
    if (fd >= 0)
      if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) told.error = error;
    if (told.error != 0 && fd >= 0) ::shm_unlink(path_of(told).c_str());
  }
  group.broadcast(&told, sizeof told, DType::kU8, 0);
  if (told.error != 0) {
    if (fd >= 0) ::close(fd);
    fail("made", told.error);
  }
  if (fd < 0) fd = ::shm_open(path_of(told).c_str(), O_RDWR | O_CLOEXEC, 0600);
  const int open_error = fd < 0 ? errno : 0;
  int64_t missing = fd < 0 ? 1 : 0;
  group.all_reduce(&missing, 1, DType::kI64);  // all have opened it
  if (group.rank() == 0) ::shm_unlink(path_of(told).c_str());
  if (missing > 0) {
    if (fd >= 0) ::close(fd);
    if (open_error != 0 && open_error != ENOENT) fail("opened", open_error);
    throw ConfigError("[comm] emulated links and rehearsals need all ranks on one host.");
  }
  void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int map_error = errno;
  ::close(fd);
  if (base == MAP_FAILED) fail("mapped", map_error);
  return {static_cast<std::byte*>(base), [bytes](std::byte* data) { ::munmap(data, bytes); }};
}

}  // namespace trine
