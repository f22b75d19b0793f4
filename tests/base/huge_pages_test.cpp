#include "base/huge_pages.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <new>
#include <string>
#include <utility>

namespace trine {
namespace {

bool zero(std::byte byte) { return byte == std::byte{}; }

TEST(HugePages, AreZerosAtTheBeginOfOne) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4097}, (int64_t{4} << 20) + 3}) {
    const HugePages pages(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % (uintptr_t{2} << 20), 0u) << bytes;
    EXPECT_EQ(std::ssize(pages.bytes()), bytes);
    EXPECT_TRUE(std::ranges::all_of(pages.bytes(), zero)) << bytes;
  }
}

// Of the mapping that an address is in: the kernel was asked for huge pages ("hg" of VmFlags).
bool asks_for_huge_pages(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) inside = begin <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line.find(" hg") != line.npos;
  }
  return false;
}

TEST(HugePages, AreAskedForWhereWholeOnesAreNeeded) {
  const HugePages large(int64_t{4} << 20), small(int64_t{1} << 20);
  EXPECT_TRUE(asks_for_huge_pages(large.data()));
  EXPECT_FALSE(asks_for_huge_pages(small.data()));
}

TEST(HugePages, Move) {
  HugePages first(100), second;
  first.data()[7] = std::byte{3};
  std::byte* const data = first.data();
  second = std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(second.size(), 100);
  EXPECT_EQ(second.data()[7], std::byte{3});
  first = HugePages(5);  // of what was moved from
  EXPECT_EQ(first.size(), 5);
}

TEST(HugePages, TooManyAreRefused) {
  EXPECT_THROW(HugePages(std::numeric_limits<int64_t>::max() / 2), std::bad_alloc);
}

}  // namespace
}  // namespace trine
