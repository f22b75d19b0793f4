#include <algorithm>

#include "base/error.h"
#include "checkpoint/save.h"
#include "checkpoint/streaming_copy.h"

namespace trine {

AsyncSaver::AsyncSaver(int64_t staging_limit_bytes, Copy copy)
    : staging_limit_bytes_(staging_limit_bytes), copy_(copy ? std::move(copy) : streaming_copy) {}

AsyncSaver::~AsyncSaver() {
  if (running_.valid()) running_.wait();
}

void AsyncSaver::reserve(int64_t size_bytes) {
  if (size_bytes <= staging_.size() || size_bytes > staging_limit_bytes_) return;
  TRINE_CHECK(!busy());
  staging_ = {};
  staging_ = HugePages(size_bytes);
  std::ranges::fill(staging_.bytes(), std::byte{});
}

void AsyncSaver::start(SaveJob job, std::vector<Slice> slices) {
  TRINE_CHECK(!busy(), "the outcome of the last save was not asked for");
  int64_t total_bytes = 0;
  for (const Slice& slice : slices) total_bytes += slice.size_bytes();
  const bool blocks = total_bytes > staging_limit_bytes_;
  if (!blocks) {
    reserve(total_bytes);
    std::byte* to = staging_.data();
    for (Slice& slice : slices) {
      if (slice.boxes.empty()) continue;
      copy_(to, slice.data, static_cast<size_t>(slice.size_bytes()));
      slice.data = to;
      to += slice.size_bytes();
    }
  }
  running_ = std::async(std::launch::async, [job = std::move(job), slices = std::move(slices)] {
    return save_checkpoint(job, slices);
  });
  if (blocks) running_.wait();
}

std::optional<SaveOutcome> AsyncSaver::poll() {
  if (!busy() || running_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return std::nullopt;
  return running_.get();
}

std::optional<SaveOutcome> AsyncSaver::finish() {
  if (!busy()) return std::nullopt;
  return running_.get();
}

}  // namespace trine
