// Memory in huge pages where the system gives them: fewer TLB misses in long streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace trine {

// Zeros, at a multiple of the size of a huge page. Takes no memory before it is touched.
class HugePages {
 public:
  HugePages() = default;
  // std::bad_alloc if the system refuses. REQUIRES: bytes >= 0.
  explicit HugePages(int64_t bytes);
  ~HugePages();
  HugePages(HugePages&& other) noexcept { swap(other); }
  HugePages& operator=(HugePages&& other) noexcept {
    HugePages(std::move(other)).swap(*this);
    return *this;
  }

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }

 private:
  void swap(HugePages& other) noexcept {
    std::swap(base_, other.base_), std::swap(length_, other.length_);
    std::swap(data_, other.data_), std::swap(size_, other.size_);
  }

  void* base_ = nullptr;  // of the mapping
  size_t length_ = 0;
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace trine
