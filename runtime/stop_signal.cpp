#include "runtime/stop_signal.h"

#include <atomic>
#include <unistd.h>

#include "base/error.h"

namespace trine {
namespace {

// A handler can reach nothing but globals: the one that the process needs.
std::atomic<int> received_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not lock");
std::atomic<bool> installed = false;

extern "C" void remember_signal(int signal) { received_signal.store(signal, std::memory_order_relaxed); }

const char* signal_name(int signal) {
  return signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGUSR1";
}

}  // namespace

StopSignal::StopSignal(bool under_launcher) {
  TRINE_CHECK(!installed.exchange(true), "signals of a process can be handled in one place only");
  received_signal = 0;
  for (int signal : {SIGUSR1, SIGINT, SIGTERM}) {
    if (under_launcher && signal != SIGUSR1) continue;
    struct sigaction action {};
    action.sa_handler = remember_signal;
    // After the first SIGINT the default action is back: the second one ends a program that does not come to a
    // step's end. SIGUSR1's default would kill, and schedulers send it more than once.
    action.sa_flags = SA_RESTART | (signal == SIGUSR1 ? 0 : static_cast<int>(SA_RESETHAND));
    sigemptyset(&action.sa_mask);
    Previous& previous = previous_[num_installed_++];
    previous.signal = signal;
    ::sigaction(signal, &action, &previous.action);
  }
}

StopSignal::~StopSignal() {
  put_back();
  installed = false;
}

void StopSignal::put_back() {
  while (num_installed_ > 0) {
    const Previous& previous = previous_[--num_installed_];
    ::sigaction(previous.signal, &previous.action, nullptr);
  }
}

void StopSignal::release() {
  put_back();
  if (const int signal = received_signal.exchange(0)) ::raise(signal);
}

bool StopSignal::stop_requested() {
  if (!reason_.empty()) return true;
  if (const int signal = received_signal.load(std::memory_order_relaxed)) {
    reason_ = signal_name(signal);
  } else if (!stop_file_.empty() && ::access(stop_file_.c_str(), F_OK) == 0) {
    ::unlink(stop_file_.c_str());
    reason_ = "stop file";
  }
  return !reason_.empty();
}

}  // namespace trine
