// A lock that all ranks of a host share and that none of them can take along: of one that dies with it, the next rank
// inherits it, and of one that stands still with it, the others say so.
#pragma once

#include <chrono>
#include <pthread.h>

namespace trine {

// Lies in memory that the ranks share.
class HostMutex {
 public:
  HostMutex();
  HostMutex(const HostMutex&) = delete;
  HostMutex& operator=(const HostMutex&) = delete;

 private:
  friend class HostLock;
  pthread_mutex_t mutex_;
};

class HostLock {
 public:
  // HangError if a rank keeps `what` for a second more than the whole seconds of `timeout`; 0: waits for ever.
  HostLock(HostMutex& mutex, const char* what, std::chrono::milliseconds timeout);
  ~HostLock();
  HostLock(const HostLock&) = delete;
  HostLock& operator=(const HostLock&) = delete;

 private:
  pthread_mutex_t& mutex_;
};

}  // namespace trine
