#include "runtime/device/device_watch.h"

#include <algorithm>

#include "base/error.h"

namespace trine {
namespace {
constexpr std::chrono::milliseconds kPeriod{250};
}

DeviceWatch::DeviceWatch(Timeline& timeline, DeviceWorld& device, int rank, std::chrono::milliseconds timeout)
    : timeline_(timeline), device_(device), rank_(rank), timeout_(timeout), thread_([this] { run(); }) {}

DeviceWatch::~DeviceWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void DeviceWatch::check() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

void DeviceWatch::run() {
  const auto period =
      timeout_.count() > 0 ? std::min(kPeriod, std::max(timeout_ / 4, std::chrono::milliseconds(1))) : kPeriod;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, period, [&] { return stop_; })) {
    lock.unlock();
    std::exception_ptr error;
    try {
      look();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (!error) continue;
    error_ = error;  // known before the device lets anybody go on
    lock.unlock();
    device_.abort(error);
    return;
  }
}

void DeviceWatch::look() {
  device_.check();
  const Timeline::Progress now = timeline_.progress();
  const int64_t time_ns = now_ns();
  if (now.reached != last_.reached || now.reached == now.made) moved_ns_ = time_ns;
  last_ = now;
  if (timeout_.count() > 0 && std::chrono::nanoseconds(time_ns - moved_ns_) >= timeout_)
    throw HangError(fmt::format(
        "[comm] rank {} in communication of its device, waiting for another rank: no answer within {} s. "
        "Look at what that rank does, or raise --timeout if it is only slow.",
        rank_, static_cast<double>(timeout_.count()) / 1e3));
}

}  // namespace trine
