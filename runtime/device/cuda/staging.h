// Pinned memory between pageable host memory and a device.
#pragma once

#include <array>
#include <mutex>
#include <span>

#include "kernels/cuda/context.h"
#include "plan/host_memory.h"

namespace trine::cuda {

// From any thread. In order with what is in the compute stream.
class Staging {
 public:
  explicit Staging(ContextPtr context);
  // Returns when `host` may change; the device may not have it yet.
  void write(std::span<const std::byte> host, std::byte* device);
  // Blocks until all is there.
  void read(const std::byte* device, std::span<std::byte> host);

 private:
  // Many small writes share a segment; it is used again once its copies are done.
  struct Segment {
    PinnedBuffer memory{kPinnedSegmentBytes};
    Event copied;
    bool in_use = false;
  };
  void next_segment();

  const ContextPtr context_;
  std::mutex mutex_;
  std::array<Segment, kPinnedSegments> segments_;
  size_t current_ = 0;
  int64_t filled_ = 0;  // of the current segment
};

}  // namespace trine::cuda
