#include "base/huge_pages.h"

#include <algorithm>
#include <new>
#include <sys/mman.h>

#include "base/shape.h"

namespace trine {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

}  // namespace

HugePages::HugePages(int64_t bytes) {
  length_ = static_cast<size_t>(round_up(std::max<int64_t>(bytes, 1), kHugePage) + kHugePage);
  void* const base =
      ::mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) throw std::bad_alloc();
  base_ = base, size_ = bytes;
  data_ =
      reinterpret_cast<std::byte*>(round_up(static_cast<int64_t>(reinterpret_cast<uintptr_t>(base)), kHugePage));
  // What is left of the last one, and all of less than one, stays in small pages: it is not to take a whole one.
  if (bytes >= kHugePage) ::madvise(data_, static_cast<size_t>(bytes / kHugePage * kHugePage), MADV_HUGEPAGE);
}

HugePages::~HugePages() {
  if (base_ != nullptr) ::munmap(base_, length_);
}

}  // namespace trine
