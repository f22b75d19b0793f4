#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

#include "base/error.h"
#include "base/shape.h"
#include "checkpoint/save.h"
#include "checkpoint/streaming_copy.h"

namespace trine {
namespace {

// In huge pages where the system has them, and in memory already.
void* allocate_touched(int64_t size_bytes) {
  constexpr int64_t kHugePageBytes = 2 << 20;
  const auto bytes = static_cast<size_t>(div_up(size_bytes, kHugePageBytes) * kHugePageBytes);
  void* memory = std::aligned_alloc(kHugePageBytes, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  (void)::madvise(memory, bytes, MADV_HUGEPAGE);
  return std::memset(memory, 0, bytes);
}

}  // namespace

AsyncSaver::AsyncSaver(int64_t staging_limit_bytes, Copy copy)
    : staging_limit_bytes_(staging_limit_bytes), copy_(copy ? std::move(copy) : streaming_copy) {}

AsyncSaver::~AsyncSaver() {
  if (running_.valid()) running_.wait();
}

void AsyncSaver::reserve(int64_t size_bytes) {
  if (size_bytes <= staging_bytes_ || size_bytes > staging_limit_bytes_) return;
  TRINE_CHECK(!busy());
  staging_.reset();
  staging_bytes_ = 0;
  staging_.reset(static_cast<std::byte*>(allocate_touched(size_bytes)));
  staging_bytes_ = size_bytes;
}

void AsyncSaver::start(SaveJob job, std::vector<Slice> slices) {
  TRINE_CHECK(!busy(), "the outcome of the last save was not asked for");
  int64_t total_bytes = 0;
  for (const Slice& slice : slices) total_bytes += slice.size_bytes();
  const bool blocks = total_bytes > staging_limit_bytes_;
  if (!blocks) {
    reserve(total_bytes);
    std::byte* to = staging_.get();
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
