// SIGBUS on a mapped file: it was cut while it was mapped, or its disk failed, and a page of it cannot be had.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace trine {

// While it lives, losing a page of `range` (a mapping of `path`) ends the process with exit code 3 and a message
// that names the file, or, where the run is worth more than the file, puts an empty page in its place. SIGBUS
// anywhere else stays what it was. Further mappings than 64 at a time are not watched.
class BusErrorWatch {
 public:
  enum class OnLoss { kEnd, kEmptyPage };
  BusErrorWatch(std::span<const std::byte> range, const std::filesystem::path& path, OnLoss on_loss);
  BusErrorWatch(BusErrorWatch&&) = delete;
  ~BusErrorWatch();

 private:
  int slot_ = -1;
};

}  // namespace trine
