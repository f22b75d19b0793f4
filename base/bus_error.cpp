#include "base/bus_error.h"

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

namespace trine {
namespace {

// A signal has one handler for the whole process, and that handler can ask nobody: hence a table of this file's
// own. A slot is free while `begin` is 0, and changes hands while `end` is 0.
struct Slot {
  std::atomic<uintptr_t> begin = 0, end = 0;
  BusErrorWatch::OnLoss on_loss = BusErrorWatch::OnLoss::kEnd;
  char message[512] = {};
};
std::array<Slot, 64> slots;
struct sigaction before_ours;

bool put_empty_page(uintptr_t address) {
  const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  void* const page = reinterpret_cast<void*>(address / page_bytes * page_bytes);
  return ::mmap(page, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page;
}

// Only what may be called in a signal handler.
void on_bus_error(int, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Slot& slot : slots) {
    if (address < slot.begin || address >= slot.end) continue;
    if (slot.on_loss == BusErrorWatch::OnLoss::kEmptyPage && put_empty_page(address)) return;
    (void)!::write(STDERR_FILENO, slot.message, std::strlen(slot.message));
    ::_exit(static_cast<int>(ExitCode::kData));
  }
  ::sigaction(SIGBUS, &before_ours, nullptr);
  ::raise(SIGBUS);
}

void install_once() {
  [[maybe_unused]] static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    return ::sigaction(SIGBUS, &action, &before_ours) == 0;
  }();
}

}  // namespace

BusErrorWatch::BusErrorWatch(std::span<const std::byte> range, const std::filesystem::path& path, OnLoss on_loss) {
  install_once();
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  for (size_t i = 0; i < slots.size(); ++i) {
    uintptr_t free = 0;
    Slot& slot = slots[i];
    if (range.empty() || !slot.begin.compare_exchange_strong(free, begin)) continue;
    slot.on_loss = on_loss;
    const std::string message = fmt::format(
        "[file] {}: a part of it cannot be read any more: "
        "it was cut while it was mapped, or its disk failed. Restore it.\n",
        path.string());
    message.copy(slot.message, sizeof slot.message - 1);
    slot.message[std::min(message.size(), sizeof slot.message - 1)] = '\0';
    slot.end = begin + range.size();
    slot_ = static_cast<int>(i);
    return;
  }
}

BusErrorWatch::~BusErrorWatch() {
  if (slot_ < 0) return;
  slots[static_cast<size_t>(slot_)].end = 0;
  slots[static_cast<size_t>(slot_)].begin = 0;
}

}  // namespace trine
