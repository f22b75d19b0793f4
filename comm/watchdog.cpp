#include "comm/watchdog.h"

#include <algorithm>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

namespace trine {
namespace {

constexpr std::chrono::milliseconds kAskAgain{250};

}  // namespace

Watchdog::Watchdog(Duration limit, Verdict verdict) : verdict_(std::move(verdict)), limit_(limit) {
  thread_ = std::thread([this] { run(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::set_limit(Duration limit) {
  const std::lock_guard lock(mutex_);
  limit_ = limit;
  changed_.notify_all();
}

Watchdog::Watch Watchdog::over(Watchdog* watchdog, const char* call) {
  if (watchdog != nullptr) watchdog->begin(call);
  return Watch(watchdog);
}

void Watchdog::begin(const char* call) {
  const std::lock_guard lock(mutex_);
  TRINE_CHECK(call_.empty(), "{} within {}", call, call_);
  call_ = call;
  begin_ns_ = now_ns();
  changed_.notify_all();
}

void Watchdog::end() {
  const std::lock_guard lock(mutex_);
  call_.clear();
  changed_.notify_all();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (call_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const Duration lasted(seconds_since(begin_ns_));
    if (lasted < limit_) {  // in short waits: a limit may be longer than the clock can count
      changed_.wait_for(lock, std::min(limit_ - lasted, Duration(60)));
      continue;
    }
    const std::string call = call_;
    const Duration overdue = lasted - limit_;
    lock.unlock();
    const std::optional<int> code = verdict_(call, lasted, overdue);
    lock.lock();
    // Whatever the other threads are in would not end, and an exit that waits for them neither.
    if (code) ::_exit(*code);
    changed_.wait_for(lock, kAskAgain);
  }
}

}  // namespace trine
