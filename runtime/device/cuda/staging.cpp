#include "runtime/device/cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace trine::cuda {

Staging::Staging(ContextPtr context) : context_(std::move(context)) {}

void Staging::next_segment() {
  segments_[current_].copied.record(context_->compute());
  segments_[current_].in_use = true;
  current_ = (current_ + 1) % segments_.size();
  filled_ = 0;
  if (segments_[current_].in_use) segments_[current_].copied.synchronize();
}

void Staging::write(std::span<const std::byte> host, std::byte* device) {
  context_->activate();
  const std::lock_guard lock(mutex_);
  while (!host.empty()) {
    if (filled_ == kPinnedSegmentBytes) next_segment();
    const auto bytes = std::min(host.size(), static_cast<size_t>(kPinnedSegmentBytes - filled_));
    std::byte* const staged = segments_[current_].memory.data() + filled_;
    std::memcpy(staged, host.data(), bytes);
    TRINE_CUDA(cudaMemcpyAsync(device, staged, bytes, cudaMemcpyHostToDevice, context_->compute()));
    filled_ += static_cast<int64_t>(bytes);
    host = host.subspan(bytes), device += bytes;
  }
}

// Through a segment of its own turn: writes that are under way keep theirs.
void Staging::read(const std::byte* device, std::span<std::byte> host) {
  context_->activate();
  const std::lock_guard lock(mutex_);
  if (filled_ > 0) next_segment();
  std::byte* const staged = segments_[current_].memory.data();
  while (!host.empty()) {
    const auto bytes = std::min(host.size(), static_cast<size_t>(kPinnedSegmentBytes));
    TRINE_CUDA(cudaMemcpyAsync(staged, device, bytes, cudaMemcpyDeviceToHost, context_->compute()));
    TRINE_CUDA(cudaStreamSynchronize(context_->compute()));
    std::memcpy(host.data(), staged, bytes);
    host = host.subspan(bytes), device += bytes;
  }
}

}  // namespace trine::cuda
