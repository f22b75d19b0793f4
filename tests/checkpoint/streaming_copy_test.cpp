#include "checkpoint/streaming_copy.h"

#include <gtest/gtest.h>
#include <vector>

namespace trine {
namespace {

TEST(StreamingCopy, CopiesItsBytesAndNoOthers) {
  constexpr size_t kRoom = 3 * 16384, kFence = 128;
  std::vector<unsigned char> from(kRoom + kFence), to(kRoom + 2 * kFence);
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<unsigned char>(1 + (i * 131 + i / 251) % 255);
  // Beginnings and ends inside and between lines and groups of pages.
  for (size_t to_offset : {0, 1, 4, 63, 64})
    for (size_t from_offset : {0, 4, 17})
      for (size_t size : {0, 1, 3, 63, 64, 65, 200, 4096, 16383, 16384, 16384 + 64, 40000, 2 * 16384 + 5}) {
        std::fill(to.begin(), to.end(), 0);
        streaming_copy(to.data() + kFence + to_offset, from.data() + from_offset, size);
        for (size_t i = 0; i < to.size(); ++i) {
          const bool inside = i >= kFence + to_offset && i < kFence + to_offset + size;
          ASSERT_EQ(to[i], inside ? from[i - kFence - to_offset + from_offset] : 0)
              << size << " bytes from " << from_offset << " to " << to_offset << ", byte " << i;
        }
      }
}

}  // namespace
}  // namespace trine
