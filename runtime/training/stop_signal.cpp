#include "runtime/training/stop_signal.h"

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
  switch (signal) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    default:
      return "SIGUSR1";
  }
}

void handle(int signal, bool once, struct sigaction* previous) {
  struct sigaction action {};
  action.sa_handler = remember_signal;
  action.sa_flags = SA_RESTART | (once ? static_cast<int>(SA_RESETHAND) : 0);
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, previous);
}

}  // namespace

StopSignal::StopSignal(const Launch& launch) {
  TRINE_CHECK(!installed.exchange(true), "signals of a process can be handled in one place only");
  received_signal = 0;
  install(SIGUSR1, false);  // schedulers send it more than once
  if (launch.launched && !launch.passes_signals) return;
  // After the first one the default action is back: the second one ends a program that does not
  // come to a step's end.
  install(SIGINT, !launch.launched);
  install(SIGTERM, !launch.launched);
  struct sigaction hangup {};
  if (!launch.launched && ::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    install(SIGHUP, false);  // a terminal that closes: its shell and the kernel both send it
}

StopSignal::~StopSignal() {
  for (int i = 0; i < num_installed_; ++i) {
    auto& [signal, action] = previous_[i];
    const bool stays = held_ || signal == SIGUSR1 || signal == SIGHUP;
    if (stays && action.sa_handler == SIG_DFL) action.sa_handler = SIG_IGN;
  }
  put_back();
  installed = false;
}

void StopSignal::install(int signal, bool once) {
  Previous& previous = previous_[num_installed_++];
  previous.signal = signal;
  handle(signal, once, &previous.action);
}

void StopSignal::put_back() {
  while (num_installed_ > 0) {
    const Previous& previous = previous_[--num_installed_];
    ::sigaction(previous.signal, &previous.action, nullptr);
  }
}

void StopSignal::hold() {
  held_ = true;
  for (int i = 0; i < num_installed_; ++i) handle(previous_[i].signal, false, nullptr);
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
