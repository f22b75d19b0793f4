// The file `lock` of a folder that one job writes: which one, and that it still runs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"

namespace trine {

// Another job has the folder. The message names it.
struct LockedError : ConfigError {
  using ConfigError::ConfigError;
};

// Held while it lives, and removed at the end. The file says host, process, its start and a random number; the
// holder keeps it locked (flock) and touches it every few seconds. So one is stale, and taken over, if
//   its process is gone, seen from the same host,
//   or, of another host or container, nobody touches it for `patience` (or has for ten minutes).
class RunLock {
 public:
  static constexpr std::chrono::milliseconds kTouch{2000}, kPatience{5 * kTouch};

  // REQUIRES: `folder` exists. LockedError; ConfigError if a file, link or anything else that is no lock stands in
  // its place; DataError.
  explicit RunLock(const std::filesystem::path& folder, std::chrono::milliseconds patience = kPatience);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

  uint64_t number() const { return number_; }

 private:
  void keep_touching();

  const std::filesystem::path path_;
  uint64_t number_ = 0;
  int fd_ = -1;
  bool ends_ = false;
  std::mutex mutex_;
  std::condition_variable end_;
  std::thread thread_;
};

// The number of the lock that stands in `folder`, as seen from here; nothing: none that can be read.
std::optional<uint64_t> lock_number(const std::filesystem::path& folder);
// Whether `folder` has a file `lock` that is one, held or stale.
bool has_lock(const std::filesystem::path& folder);

}  // namespace trine
