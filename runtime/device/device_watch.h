// Looks after work that a device does with other devices while the host goes on: a peer that is gone or does not
// come would let it wait for ever.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "comm/device_group.h"
#include "runtime/device/timeline.h"

namespace trine {

class DeviceWatch {
 public:
  // Aborts `device` as soon as one of its groups has failed, or work has not moved on for `timeout` (0: it may take
  // for ever). `rank`: this one, for messages. Timeline and device outlive the watch.
  DeviceWatch(Timeline& timeline, DeviceWorld& device, int rank, std::chrono::milliseconds timeout);
  ~DeviceWatch();
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;

  // PeerLostError or HangError, if that was why the device was aborted.
  void check();

 private:
  void run();
  void look();

  Timeline& timeline_;
  DeviceWorld& device_;
  const int rank_;
  const std::chrono::milliseconds timeout_;
  Timeline::Progress last_;
  int64_t moved_ns_ = now_ns();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr error_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace trine
