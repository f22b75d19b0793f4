#include "comm/emulated/host_mutex.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fmt/core.h>

#include "base/error.h"

namespace trine {

HostMutex::HostMutex() {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex_, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
}

HostLock::HostLock(HostMutex& mutex, const char* what, std::chrono::milliseconds timeout) : mutex_(mutex.mutex_) {
  int error = 0;
  if (timeout.count() == 0) {
    error = ::pthread_mutex_lock(&mutex_);
  } else {
    timespec until{};
    ::clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout.count() / 1000 + 1;
    error = ::pthread_mutex_clocklock(&mutex_, CLOCK_MONOTONIC, &until);
  }
  if (error == EOWNERDEAD) error = ::pthread_mutex_consistent(&mutex_);
  if (error == ETIMEDOUT)
    throw HangError(fmt::format(
        "[comm] a rank of this host has kept {} for {} s. Look at what the ranks do, or raise --timeout "
        "if they are only slow.",
        what, timeout.count() / 1000 + 1));
  TRINE_CHECK(error == 0, "the lock of {}: {}", what, std::strerror(error));
}

HostLock::~HostLock() { ::pthread_mutex_unlock(&mutex_); }

}  // namespace trine
